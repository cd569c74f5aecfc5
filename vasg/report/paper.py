"""Tables 2 and 3 of the paper, to stand beside what was measured: other data, so nothing here is a target."""

from vasg.report.page import Grid

_AUC = [  # data set, products, RAND, WBOI, VBPR, VASG
    ["Women", "warm", "0.4998", "0.6134", "0.7982", "0.8964"],
    ["Women", "cold", "0.5001", "0.5912", "-", "0.7596"],
    ["Men", "warm", "0.4897", "0.6468", "0.7753", "0.8758"],
    ["Men", "cold", "0.4954", "0.6094", "-", "0.7061"],
    ["Shoes", "warm", "0.5023", "0.6318", "0.8116", "0.8972"],
    ["Shoes", "cold", "0.4995", "0.5846", "-", "0.7261"],
    ["Jewelry", "warm", "0.4987", "0.6087", "0.7629", "0.8801"],
    ["Jewelry", "cold", "0.5003", "0.5704", "-", "0.7134"],
]

_RELATIONS = [  # data set, INN, IBR, VASG
    ["Women", "67.82 %", "87.43 %", "79.59 %"],
    ["Men", "66.23 %", "87.13 %", "80.12 %"],
    ["Shoes", "69.34 %", "89.67 %", "81.56 %"],
    ["Jewelry", "65.42 %", "83.25 %", "79.36 %"],
]


def published_auc() -> Grid:
    """Table 2."""
    caption = (
        "Published, other data: AUC in Table 2 of the paper (four categories of the Amazon reviews of 2014, candidates "
        "are all products the user has not bought). Not measured here."
    )
    return Grid(caption, ["Amazon category", "products", "RAND", "WBOI", "VBPR", "VASG"], _AUC, narrow=True)


def published_relations() -> Grid:
    """Table 3, without its two columns of differences."""
    caption = (
        "Published, other data: accuracy of telling products that a user bought together from others, Table 3 of the "
        "paper. Not measured here."
    )
    return Grid(caption, ["Amazon category", "INN", "IBR", "VASG"], _RELATIONS, narrow=True)
