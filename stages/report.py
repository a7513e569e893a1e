"""Make the report and the data of the plots.    python -m stages.report"""

from lethe import artifacts, config, doors
from lethe.interviews import QUANTIZATION
from lethe.recipes import Grid
from lethe.reporting import page, plots, tables
from lethe.reporting.evidence import gather
from lethe.reporting.samples import samples


def main() -> None:
    """Write the page, the summary table and the plots of every model of the grid."""
    settings = config.section(page.Config, "report")
    grid = config.section(Grid, "grid")
    schemes = config.block("attacks", QUANTIZATION, "schemes") if QUANTIZATION in grid.attacks else {}
    evidence = gather(
        grid,
        schemes,
        confidence=config.block("score", "bootstrap", "confidence"),
        largest_excess=config.block("score", "gates", "largest_excess"),
    )
    rows = tables.summary(evidence)
    worst = {row.model: row.worst_condition for row in rows if row.model not in artifacts.CONTROLS}
    shown = samples(evidence, worst, settings.num_sample_answers)
    artifacts.write_text(artifacts.REPORT_PAGE, page.render(evidence, rows, shown))
    artifacts.write_json(artifacts.REPORT_TABLE, tables.as_records(rows))
    artifacts.write_json(artifacts.plot("curves"), plots.curves(evidence))
    artifacts.write_json(artifacts.plot("bits"), plots.bits(evidence))
    artifacts.write_json(artifacts.plot("tradeoff"), plots.tradeoff(rows))


if __name__ == "__main__":
    doors.run(main)
