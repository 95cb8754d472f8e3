"""The release before, as it is kept: its chart, its wheel and what its images are made with belong together."""

from clusterkit import older, project


def test_its_images_have_the_version_of_its_chart_which_is_not_todays() -> None:
    assert older.tags() == [f"leveret/{service}:0.1.0" for service in ("operator", "producer", "consumer")]
    assert set(older.tags()) & {project.tag(service) for service in project.SERVICES} == set()


def test_there_is_one_wheel_of_the_same_version() -> None:
    (wheel,) = older.FOLDER.glob("*.whl")
    version = older.tag("operator").rpartition(":")[2]
    assert wheel.name.startswith(f"leveret-{version}+")


def test_what_only_it_needs_is_for_services_of_it_and_has_hashes() -> None:
    files = list((older.FOLDER / "requirements").iterdir())
    assert {file.stem for file in files} <= set(older.SERVICES)
    for file in files:
        assert file.read_text().count("==") <= file.read_text().count("--hash=sha256:")
