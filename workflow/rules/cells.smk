# A cell is one job of one thread: its learning rates race to its record. A job that was stopped resumes.
rule run:
    input:
        lambda wildcards: ancient(data_files(CELLS[wildcards.cell].dataset)),
        lambda wildcards: ancient(partition_file(CELLS[wildcards.cell])),
    output:
        "results/cells/{task}/{cell}.json",
    log:
        "logs/cells/{task}/{cell}.log",
    shell:
        "python -m fedgrid run {wildcards.cell} 2>&1 | tee {log}"
