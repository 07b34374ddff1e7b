"""A stage's results as artifacts of the Prefect UI."""

from functools import partial

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from bdpo.pipeline import StageResult
from flows.delivery import Delivery


def publish(result: StageResult, deliver: Delivery) -> None:
    """Show a stage's figures, Data Docs and report.

    Args:
        result: of the stage, whose task run must be the current one.
        deliver: for calls of the API.
    """
    table = result.summary.get("table")
    if table:
        deliver(
            lambda: create_table_artifact(
                table=table, key="bdpo-evaluation", description="Base model against aligned model"
            )
        )
    counts = "\n".join(
        f"| {name} | {value} |" for name, value in result.summary.items() if isinstance(value, (int, float, str))
    )
    docs = result.artifact / "data_docs" / "index.html"
    checked = f"[what was checked]({docs.resolve().as_uri()})\n\n" if docs.is_file() else ""
    for page, name in ((docs, "data-docs"), (result.artifact / "report.html", "report")):
        if page.is_file():
            deliver(
                partial(
                    create_link_artifact,
                    link=page.resolve().as_uri(),
                    link_text=name,
                    key=f"bdpo-{result.stage}-{name}",
                    description=f"For the browser's address bar: {page.resolve().as_uri()}",
                )
            )
    deliver(
        lambda: create_markdown_artifact(
            key=f"bdpo-{result.stage}",
            description=f"{result.stage}: {'cached' if result.cached else 'computed'}",
            markdown=f"`{result.artifact}`\n\n{checked}| figure | value |\n| --- | --- |\n{counts}\n",
        )
    )
