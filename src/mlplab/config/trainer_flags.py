"""Lists the flags of Lightning's Trainer without importing Lightning; a test compares the two."""

# Unquoted, YAML reads 32 as a number, which Lightning accepts too.
PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "32", "64", 32, 64)

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true", "single_device")
"""Lightning's strategies that work. Others split the weights, which checkpoints hold whole, or train in process copies
(spawn, fork, notebook), which do not return the best state and the history."""

# Listed here, as importing Lightning takes seconds and a typing error must be reported at once.
TRAINER_FLAGS = (
    "accelerator", "strategy", "devices", "num_nodes", "precision", "logger", "callbacks", "fast_dev_run", "max_epochs",
    "min_epochs", "max_steps", "min_steps", "max_time", "limit_train_batches", "limit_val_batches",
    "limit_test_batches", "limit_predict_batches", "overfit_batches", "val_check_interval", "check_val_every_n_epoch",
    "num_sanity_val_steps", "log_every_n_steps", "enable_checkpointing", "enable_progress_bar", "enable_model_summary",
    "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "deterministic", "benchmark",
    "inference_mode", "use_distributed_sampler", "profiler", "detect_anomaly", "barebones", "plugins",
    "sync_batchnorm", "reload_dataloaders_every_n_epochs", "default_root_dir", "enable_autolog_hparams",
    "model_registry",
)  # fmt: skip

CHOSEN_ELSEWHERE = {
    "callbacks": "+callbacks.NAME={_target_: lightning.pytorch.callbacks.CLASS}, in the group callbacks",
    "logger": "logger=csv, in the group logger",
    "default_root_dir": "paths.logs=FOLDER for all runs, or paths.run=FOLDER for this one",
    "plugins": "trainer.precision=… and trainer.strategy=…; others in build_trainer of src/mlplab/building.py",
    "barebones": "callbacks=minimal logger=none, which leaves little to do beside training",
    "enable_checkpointing": "callbacks.checkpoints.every_seconds=600, in the group callbacks",
    "enable_model_summary": "+callbacks.summary={_target_: lightning.pytorch.callbacks.ModelSummary}",
    "limit_predict_batches": "scripts/predict.py, for a file with fewer rows: a run predicts nothing",
    "model_registry": "logger=mlflow or logger=wandb, or scripts/export.py, whose file any registry takes",
    "use_distributed_sampler": "leaving it out: processes always share every batch",
}
"""Flags of Lightning's Trainer that a run sets itself → where that is chosen."""

PROFILERS = {"simple": "SimpleProfiler", "advanced": "AdvancedProfiler", "pytorch": "PyTorchProfiler"}
"""Name → class in `lightning.pytorch.profilers`."""
