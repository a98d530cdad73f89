# A cell is one job of one thread: its learning rates race to its record. A job that was stopped resumes, and a record that
# is there is kept: `update`, so that a job that is tried again finds it.
rule run:
    input:
        lambda wildcards: ancient(data_files(CELLS[wildcards.cell].dataset)),
        lambda wildcards: ancient(partition_file(CELLS[wildcards.cell])),
    output:
        update("results/cells/{task}/{cell}.json"),
    log:
        "logs/cells/{task}/{cell}.log",
    group:
        pack
    resources:
        cell=1,
        gpu=gpus,
        runtime=walltime,
        mem_mb=memory,
    shell:
        "python -m fedgrid run {wildcards.cell} 2>&1 | tee {log}"
