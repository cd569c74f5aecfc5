"""Which PySpark a process of a job imports."""

from pathlib import Path

from vasg.spark.installed_pyspark import prefer


def test_zips_inside_an_installed_pyspark_give_way_to_it(tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "spark"
    for package in (site / "pyspark", site / "py4j", elsewhere / "pyspark"):
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    library = site / "pyspark" / "python" / "lib"
    zips = [str(library / "pyspark.zip"), str(library / "py4j-0.10.9.9-src.zip")]
    foreign = [str(elsewhere / "pyspark" / "python" / "lib" / "pyspark.zip"), "/jobs.zip"]
    assert prefer([*zips, *foreign, str(site)]) == [*foreign, str(site)]
    assert prefer(zips) == zips  # nothing installed: the zips are all there is
    (site / "py4j" / "__init__.py").unlink()
    assert prefer([*zips, str(site)]) == [zips[1], str(site)]
