"""Fingerprints of the functions that the engine and the stacks compute in the place of: class → name:digest.

`tests/engine/record_fingerprints.py` writes this file. It is to be run by those who change one of these functions and
let kernels and stacks follow. Whoever only changes the function leaves this file alone: the edit is then heeded.
"""

FINGERPRINTS = {
    "mlplab.building": "build_data:3693f02de7 build_trainer:8924e28b96",
    "mlplab.callbacks.averaging.ExponentialMovingAverage": "on_train_batch_end:1aef016392",
    "mlplab.callbacks.averaging.StochasticWeightAverage": "on_train_batch_end:3c48e59921",
    "mlplab.callbacks.calibrating.Calibration": "__init__:7e13360dac _measure:69e88f0dc9 on_test_start:4eddb0e528",
    "mlplab.callbacks.checkpoints.Checkpoints": (
        "__init__:a612f90ae0 _on_safe_point:7d6d883153 _tell_best:4c49100e7e consider:80c6d12196 is_due:f80b311f6d "
        "on_exception:b3e51016f4 on_fit_start:528b599d78 on_load_checkpoint:e82db30ad8 on_save_checkpoint:d8d55c378f "
        "on_train_end:2895d20a80 on_train_start:e7fdf8d4ee on_validation_batch_start:6b7a39833c "
        "on_validation_end:8f493ee296 setup:ca4e3591f7 write:a7cb130080 write_best:af76d78306 "
    ),
    "mlplab.callbacks.gradient_norms.GradientNorms": (
        "__init__:0218883546 _find_layers:c9b728d4c1 flush_logs:9d890ec297 on_before_optimizer_step:beb0805a18 "
        "on_exception:444df1f27b on_fit_start:fe2097f94d on_train_epoch_end:0121ed4ef4 "
    ),
    "mlplab.callbacks.histograms.Histograms": (
        "__init__:f62bd76a04 _write:8590b99317 load_state_dict:32e0355d9e on_train_end:10677bcc39 "
        "on_train_epoch_end:f6f1841aaf on_train_start:8fde954dbf state_dict:1647ac8759 "
    ),
    "mlplab.callbacks.history.History": (
        "__init__:0084d1de53 _cut:86cc2bbf89 _write:c65a3723f1 flush_logs:7a2605115f load_state_dict:6f932b0045 "
        "on_exception:640d39e9a1 on_train_end:0453e3b6b2 on_train_epoch_end:5e99f067e6 on_train_start:ea3e3cece0 "
        "on_validation_end:334968e1c4 on_validation_start:04ef17d60c state_dict:013fa64fa8 "
    ),
    "mlplab.callbacks.learning_rate_range.LearningRateRange": "on_train_batch_end:686e081d14",
    "mlplab.callbacks.non_finite_guard.NonFiniteGuard": (
        "__init__:be20b72aee _are_finite:014e52ed0d load_state_dict:c9dfcce4e6 on_before_backward:eccb1cfbee "
        "on_before_optimizer_step:0bde1fffc2 on_train_start:58115d7840 on_validation_end:f837485879 "
        "state_dict:831867f041 "
    ),
    "mlplab.callbacks.progress.ProgressLine": (
        "__init__:3c4f857d4c _draw:eb3781f3b1 disable:efe59a93a0 enable:1ed3082eff on_train_batch_end:07900a2694 "
        "on_train_end:6aa808fd7d on_train_start:0eb468f872 "
    ),
    "mlplab.callbacks.pruning.Pruning": (
        "__init__:d9ab68c14c _is_worse:3f59f2e5c6 load_state_dict:cadc8107e6 on_train_start:f4bb22c193 "
        "on_validation_end:e8160a7063 state_dict:a263f40c90 "
    ),
    "mlplab.callbacks.result_figures.Figures": (
        "__init__:75e7c7801a on_test_batch_end:5d0dc0d8b3 on_test_end:1382c825bf "
    ),
    "mlplab.callbacks.status.Status": "__init__:d85e5df2d8 on_train_epoch_end:d6fbfbe9a5",
    "mlplab.callbacks.training_curves.TrainingCurves": (
        "__init__:ec6055f72d _accuracy:d21942230f _count_hits:f8639c7383 flush_logs:9dce4804b2 "
        "load_state_dict:2ccc7f443e on_exception:663bd89693 on_load_checkpoint:5422c3ad4c "
        "on_save_checkpoint:8a01f5d9c9 on_train_batch_end:a639f652f1 on_train_batch_start:eed8b5a6b7 "
        "on_train_epoch_end:f5dd0dc43d on_train_start:04e72b70b8 state_dict:db765d84d4 "
    ),
    "mlplab.data.batches.Batches": (
        "__init__:8ec31601e4 __iter__:bece47d8e7 __len__:2dcac76398 _in_place:7d3c83a49c _tensors:d2184874ab "
    ),
    "mlplab.data.module.DataModule": (
        "__init__:f78976d369 _batches:9ba1aeda88 _scaled_targets:342ba29490 _split:8578ddd69e as_dict:9fedfe8bad "
        "part:a0fb252288 predict_dataloader:146a0b9af6 read:300dd4ddd0 setup:41a1604d93 test_dataloader:655d480236 "
        "train_dataloader:416f23a862 val_dataloader:2ca66a1685 "
    ),
    "mlplab.learner.Learner": (
        "__init__:0ab4b8a28e _evaluate:b273d6d514 _log_scores:80bbe9b726 _seed_step:4efd69ff25 "
        "configure_optimizers:1db9f28afe mean_over_processes:9e939f0f46 on_save_checkpoint:29ea34453e "
        "on_test_epoch_end:5aeb2980b1 on_train_batch_start:6a1001a0a0 on_validation_epoch_end:26e6d133f0 "
        "optimizer_step:93727a4421 test_step:e76314071d total_steps:673270171c training_step:443a271862 "
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
        "binary_cross_entropy:d088184ee1 cross_entropy:119aee3f0d huber:fb18f9723a mae:03a5866b4e mse:bf910d1586 "
    ),
    "mlplab.objectives.objective": "predictions:b87abe199d",
    "mlplab.objectives.objective.Objective": "forward:6e8d2ed9f3",
    "mlplab.objectives.penalties": "l1_l2_penalty:a62f5125d6",
    "mlplab.objectives.scores": "classification_scores:bc80e740d1 regression_scores:37f21c4c19",
    "mlplab.objectives.scores.Scores": (
        "__init__:bd037a0ea0 _mean_loss:f76432b228 compute:0e30c13702 reset:eb34d1018d update:7b2fd90acb "
    ),
    "mlplab.optimization.parameter_groups": "regularized_parameters:70bc53cbe3",
    "mlplab.optimization.schedules": "build_schedule:0b6f947218",
    "mlplab.randomness": "seed_generators:fa4107a44a",
    "mlplab.result": "evaluate_best:79d58437bb",
    "mlplab.training": "_fit:b502d664f3 train:00c68456e7",
    "train": "main:865fe05d1d",
}
