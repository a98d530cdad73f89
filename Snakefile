# fedgrid: every table and figure of McMahan et al. 2017, from download to LaTeX.
#
#   snakemake --cores all              every artefact of the paper that params/ declares
#   snakemake --cores all table4       one artefact
#   snakemake --cores all quickstart   the whole pipeline on embedded digits, in two minutes
#   snakemake --cores all data         downloads and partitions alone
#   snakemake --cores all audit        judges the paper's records, tables and figures; runs a few first rounds again
#   snakemake --cores all mlflow       the records, shown by `mlflow ui` or at MLFLOW_TRACKING_URI
#
# In a folder of your own, which `python -m fedgrid new campaign DIR` writes, the same rules make your artefacts.

from snakemake.utils import min_version

min_version("9.0")


# Only for `--sdm apptainer`, after `make install` in that image; by default rules run in the environment that calls them.
container: "docker://python:3.11"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/cells.smk"
include: "workflow/rules/artefacts.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/report.smk"


if "quickstart" in CAMPAIGNS:

    include: "workflow/rules/quickstart.smk"


rule all:
    default_target: True
    input:
        [records(name) + outputs(name) for name in MAIN],
        "results/metrics.json",
        "results/README.md" if CAMPAIGN == artefacts.PAPER else [],  # the paper's claims
        "results/report.html",
        f"results/manifests/{CAMPAIGN}.sha256",


rule data:
    input:
        [data_files(cell.dataset) for cell in CELLS.values()],
        [partition_file(cell) for cell in CELLS.values()],
