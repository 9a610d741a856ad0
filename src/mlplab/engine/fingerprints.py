"""Fingerprints of the functions that the engine and the stacks replace: class → name:digest.

`tests/engine/record_fingerprints.py` writes this file. Run it only after changing the kernels and stacks along with a
function. If only the function changes, leave this file alone: the edited function is then used.
"""

FINGERPRINTS = {
    "mlplab.building": "build_data:518facae19 build_trainer:99cfa566b4",
    "mlplab.callbacks.averaging.ExponentialMovingAverage": "on_train_batch_end:1aef016392",
    "mlplab.callbacks.averaging.StochasticWeightAverage": "on_train_batch_end:3c48e59921",
    "mlplab.callbacks.calibrating.Calibration": "__init__:7e13360dac _measure:02ca3244d5 on_test_start:99fad4a3c0",
    "mlplab.callbacks.checkpoints.Checkpoints": (
        "__init__:d31b355ba9 _tell_best:bfb363bfc1 consider:4d9227a1b0 is_due:f963970d9e on_exception:8349126279 "
        "on_fit_start:c0a9533742 on_load_checkpoint:e82db30ad8 on_safe_point:74561121f7 on_save_checkpoint:72335ee0ae "
        "on_train_end:659efa9b09 on_train_start:63af232548 on_validation_batch_start:6b7a39833c "
        "on_validation_end:261425ecea write:a3bfb52d6d write_best:c76ea79008 "
    ),
    "mlplab.callbacks.gradient_norms.GradientNorms": (
        "__init__:a7d9527687 _find_layers:c9b728d4c1 flush_logs:779eb73bc6 on_before_optimizer_step:56ce78d337 "
        "on_exception:2266a56687 on_fit_start:fe2097f94d on_train_epoch_end:1bd5f065a0 "
    ),
    "mlplab.callbacks.histograms.Histograms": (
        "__init__:f62bd76a04 _write:0982662b36 load_state_dict:32e0355d9e on_train_end:56dc44f92f "
        "on_train_epoch_end:5b342b8345 on_train_start:7b6c25a860 state_dict:1647ac8759 "
    ),
    "mlplab.callbacks.history.History": (
        "__init__:0084d1de53 _cut:0e0f1c0331 _write:c65a3723f1 flush_logs:7a2605115f load_state_dict:6f932b0045 "
        "on_exception:640d39e9a1 on_train_end:0453e3b6b2 on_train_epoch_end:5e99f067e6 on_train_start:22cb494afc "
        "on_validation_end:3b03585eab on_validation_start:04ef17d60c state_dict:013fa64fa8 "
    ),
    "mlplab.callbacks.learning_rate_range.LearningRateRange": "on_train_batch_end:db08750c49",
    "mlplab.callbacks.non_finite_guard.NonFiniteGuard": (
        "__init__:be20b72aee _are_finite:014e52ed0d load_state_dict:c9dfcce4e6 on_before_backward:eccb1cfbee "
        "on_before_optimizer_step:3952806997 on_train_start:58115d7840 on_validation_end:c261b26f64 "
        "state_dict:831867f041 "
    ),
    "mlplab.callbacks.progress.ProgressLine": (
        "__init__:b5e70d0dd1 _draw:d139a621d4 _show_in_cell:723496d55d disable:efe59a93a0 enable:1ed3082eff "
        "on_train_batch_end:91db535f84 on_train_end:1730039a79 on_train_start:0eb468f872 "
    ),
    "mlplab.callbacks.result_figures.Figures": (
        "__init__:75e7c7801a on_test_batch_end:5d0dc0d8b3 on_test_end:f7e19d4a2e "
    ),
    "mlplab.callbacks.status.Status": "__init__:d85e5df2d8 on_train_epoch_end:d6fbfbe9a5",
    "mlplab.callbacks.training_curves.TrainingCurves": (
        "__init__:ec6055f72d _accuracy:d21942230f _count_hits:f8639c7383 flush_logs:9dce4804b2 "
        "load_state_dict:2ccc7f443e on_exception:a03362fd08 on_load_checkpoint:5422c3ad4c "
        "on_save_checkpoint:8a01f5d9c9 on_train_batch_end:a639f652f1 on_train_batch_start:eed8b5a6b7 "
        "on_train_epoch_end:f5dd0dc43d on_train_start:04e72b70b8 state_dict:db765d84d4 "
    ),
    "mlplab.data.batches.Batches": (
        "__init__:8ec31601e4 __iter__:bece47d8e7 __len__:2dcac76398 _in_place:7d3c83a49c _tensors:d2184874ab "
    ),
    "mlplab.data.module.DataModule": (
        "__init__:2dea3f1f7c _batches:9c1d316624 _scaled_targets:b3261e24b5 _split:7897b5978a as_dict:9fedfe8bad "
        "part:a0fb252288 predict_dataloader:ebdb5e5ca5 read:85fa4b68b5 setup:aaacdb0395 test_dataloader:64fef0ca61 "
        "train_dataloader:191a662a54 val_dataloader:1b111f6cf1 "
    ),
    "mlplab.learner.Learner": (
        "__init__:0e14f16d0a _evaluate:b273d6d514 _log_scores:80bbe9b726 _seed_step:3a60b468e1 "
        "configure_optimizers:727b9ce049 mean_over_processes:9e939f0f46 on_save_checkpoint:b628fae066 "
        "on_test_epoch_end:5aeb2980b1 on_train_batch_start:292a6f703a on_validation_epoch_end:26e6d133f0 "
        "optimizer_step:a47117fc8e test_step:e76314071d total_steps:cc57e621bb training_step:5e09b71046 "
        "validation_step:e1a14d5c63 "
    ),
    "mlplab.models.activations": "identity:01979697bb",
    "mlplab.models.inputs.CategoryInputs": "forward:6243f29248",
    "mlplab.models.inputs.PixelInputs": "forward:aa86027e46",
    "mlplab.models.inputs.WithInputs": "forward:89f8066df2",
    "mlplab.models.mlp.BatchNorm": "forward:b855081847",
    "mlplab.models.mlp.HiddenLayer": "forward:459424a005",
    "mlplab.models.mlp.MLP": "forward:dad00e856d",
    "mlplab.objectives.losses": (
        "binary_cross_entropy:0f82cbf4f3 cross_entropy:de223057d9 huber:3f6cc870c4 mae:3b431435ab mse:f643c30219 "
    ),
    "mlplab.objectives.objective": "predictions:b87abe199d",
    "mlplab.objectives.objective.Objective": "forward:6e8d2ed9f3",
    "mlplab.objectives.penalties": "l1_l2_penalty:a62f5125d6",
    "mlplab.objectives.scores": "classification_scores:bc80e740d1 regression_scores:37f21c4c19",
    "mlplab.objectives.scores.Scores": (
        "__init__:bd037a0ea0 _mean_loss:f76432b228 compute:0e30c13702 reset:eb34d1018d update:f17b54952b "
    ),
    "mlplab.optimization.parameter_groups": "regularized_parameters:70bc53cbe3",
    "mlplab.optimization.schedules": "build_schedule:129decc60e",
    "mlplab.randomness": "seed_generators:fa4107a44a",
    "mlplab.result": "evaluate_best:bc9821eaab",
    "mlplab.sweeps.search.trial_pruning.Pruning": (
        "__init__:50ce3c9d50 _is_worse:3f59f2e5c6 load_state_dict:cadc8107e6 on_train_start:d3b0cc7702 "
        "on_validation_end:81d9f2b5db state_dict:a263f40c90 "
    ),
    "mlplab.training": "_fit:c7d13e5fae train:93a51a0966",
    "train": "main:fc9e5183a9",
}
