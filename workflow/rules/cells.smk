# A cell is one job of one thread: its learning rates race to its record. A long one may be shared by several processes, its
# `tasks`. A job that was stopped resumes, and a record that is there is kept: `update`, so that a job that is tried again
# finds it.
rule run:
    input:
        lambda wildcards: ancient(data_files(CELLS[wildcards.cell].dataset)),
        lambda wildcards: ancient(partition_file(CELLS[wildcards.cell])),
    output:
        update("results/cells/{task}/{cell}.json"),
    log:
        "logs/cells/{task}/{cell}.log",
    group:
        lambda wildcards: CLUSTER.pack(CELLS[wildcards.cell])
    resources:
        cell=1,
        gpu=lambda wildcards: CLUSTER.gpus(CELLS[wildcards.cell]) * (CLUSTER.tasks(CELLS[wildcards.cell]) or 1),
        tasks=lambda wildcards: CLUSTER.tasks(CELLS[wildcards.cell]),
        tasks_per_gpu=lambda wildcards: CLUSTER.tasks(CELLS[wildcards.cell]) and CLUSTER.gpus(CELLS[wildcards.cell]),
        mpi=lambda wildcards: CLUSTER.tasks(CELLS[wildcards.cell]) and "srun",  # the shell's own: SLURM starts one shell
        runtime=lambda wildcards, attempt: CLUSTER.minutes(
            CELLS[wildcards.cell], attempt, workflow.group_settings.group_components  # which are not known before
        ),
        mem_mb=lambda wildcards, attempt: CLUSTER.megabytes(CELLS[wildcards.cell], attempt),
    params:
        start=lambda wildcards, threads: CLUSTER.start(CELLS[wildcards.cell], threads),
    shell:
        "{params.start} -m fedgrid run {wildcards.cell} 2>&1 | tee {log}"
