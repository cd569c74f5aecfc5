"""The steps of the stage generate_walks, in order."""

from functools import partial

import numpy as np

from vasg.pipeline.job import Job
from vasg.walks import graph, layout, replicated


def body(job: Job) -> None:
    """Count degrees, choose the strategy by the size of the graph, walk, publish."""
    job.session.start()
    config, settings, publication = job.config, job.config.walks, job.publication
    weighted = settings.transition == "rating"
    columns = ["user", "product", "split"] + ["rating"] * weighted
    pairs = partial(job.warehouse.batches, "interactions", columns)
    users, nodes = graph.count_nodes(partial(job.warehouse.batches, "nodes", ["node_type", "is_cold"]))
    degrees = graph.count_degrees(pairs, users, nodes, weighted)
    starts = layout.start_nodes(degrees, users)
    layouts = {
        kind: layout.plan(
            len(found) * settings.walks_per_node, settings.lanes, settings.row_group_size, config.seed, kind
        )
        for kind, found in starts.items()
    }
    gib, limit = graph.csr_bytes(degrees, weighted) / 2**30, settings.replicated_limit_gib
    chosen, why = settings.strategy, "as configured"
    if chosen == "auto":
        chosen = "replicated" if gib <= limit else "partitioned"
        why = f"the graph takes {gib:.3g} GiB, walks.replicated_limit_gib is {limit:g}"
    directory = publication.directory("walks")
    if chosen == "replicated":
        network = graph.build(pairs, degrees, users, weighted)
        parts = replicated.write_walks(job.spark, network, starts, layouts, config, directory)
    else:
        from vasg.walks import partitioned  # and pandas with it: a quarter of a second that the others need not wait

        parts = partitioned.write_walks(job.read("interactions"), degrees, starts, layouts, config, directory)
    facts = {
        "walk_length": settings.walk_length, "walks_per_node": settings.walks_per_node, "lanes": settings.lanes,
        "nodes": nodes, "strategy": chosen, "transition": settings.transition,
    }  # fmt: skip
    publication.add("walks", parts, facts)
    job.count(
        strategy=f"{chosen} ({why})", train_pairs=int(degrees[:users].sum(dtype=np.int64)),
        nodes_without_train_pair=int((degrees == 0).sum()), files=len(parts),
    )  # fmt: skip
