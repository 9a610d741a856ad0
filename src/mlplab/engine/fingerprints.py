"""Fingerprints of the functions that the engine and the stacks compute in the place of: class → name:digest.

`tests/engine/record_fingerprints.py` writes this file. It is to be run by those who change one of these functions and
let kernels and stacks follow. Whoever only changes the function leaves this file alone: the edit is then heeded.
"""

FINGERPRINTS = {
    "mlplab.building": "build_data:14c527800b build_trainer:56eb406e33",
    "mlplab.callbacks.checkpoints.Checkpoints": (
        "__init__:8449d85dea _on_safe_point:11fb9d7368 consider:ec7d3371c7 is_due:a10ccad2f9 on_exception:ac504770f3 "
        "on_fit_start:24544bc2c1 on_load_checkpoint:1c4ee10fab on_save_checkpoint:1cf607227b on_train_end:2895d20a80 "
        "on_train_start:762db3207f on_validation_batch_start:6b7a39833c on_validation_end:a8d34934b7 setup:db7bc9ed4c "
        "write:2574ef21d7 write_best:801eb92953 "
    ),
    "mlplab.callbacks.divergence.Divergence": (
        "__init__:d9efa4696a _are_finite:3051040d18 _describe:9255e40774 _loss_is_finite:937850d1d9 "
        "load_state_dict:039d3eeffe on_before_backward:4489b21528 on_before_optimizer_step:6ef4b6b7e9 "
        "on_train_start:37c7c109a9 on_validation_end:6346627859 state_dict:5dad3c8bba "
    ),
    "mlplab.callbacks.figures.Figures": "__init__:75e7c7801a on_test_batch_end:5d0dc0d8b3 on_test_end:e078584a4a",
    "mlplab.callbacks.gradient_norms.GradientNorms": (
        "__init__:97aab79e2f flush_logs:9d890ec297 on_before_optimizer_step:c8033dbba6 on_fit_start:cd5525671f "
        "on_train_epoch_end:0121ed4ef4 "
    ),
    "mlplab.callbacks.histograms.Histograms": (
        "__init__:f62bd76a04 _write:36d75cb12c load_state_dict:32e0355d9e on_train_end:505763d982 "
        "on_train_epoch_end:452290a41b on_train_start:0d9c9b91ae state_dict:1647ac8759 "
    ),
    "mlplab.callbacks.history.History": (
        "__init__:9f759e1349 _close:44cd74ce44 _hand_over:9cc207dadb _keep:595a79aab0 _write:497c031b75 "
        "flush_logs:571568dd5e load_state_dict:6f932b0045 on_exception:cefc26e58d on_train_end:c9a7368d92 "
        "on_train_epoch_end:d6f959e187 on_train_start:11359be285 on_validation_end:1e050fc0cd "
        "on_validation_start:04ef17d60c state_dict:013fa64fa8 "
    ),
    "mlplab.callbacks.learning_rate_range.LearningRateRange": "on_train_batch_end:686e081d14",
    "mlplab.callbacks.progress.ProgressLine": (
        "__init__:c29dc191e8 _draw:a4fc6482b9 disable:efe59a93a0 enable:1ed3082eff on_train_batch_end:fce27c9aa5 "
        "on_train_end:6aa808fd7d on_train_start:78382b1338 "
    ),
    "mlplab.callbacks.pruning.Pruning": (
        "__init__:d9ab68c14c _is_worse:3f59f2e5c6 load_state_dict:cadc8107e6 on_train_start:f4bb22c193 "
        "on_validation_end:e8160a7063 state_dict:a263f40c90 "
    ),
    "mlplab.callbacks.status.Status": "__init__:bcee22240e on_train_epoch_end:a029b45f92",
    "mlplab.callbacks.training_curves.TrainingCurves": (
        "__init__:ec57c83e1d flush_logs:9dce4804b2 load_state_dict:77e14e387a on_train_batch_end:a7fa1048f3 "
        "on_train_batch_start:eed8b5a6b7 on_train_epoch_end:c62fdcdd37 state_dict:226458d8e2 "
    ),
    "mlplab.data.batches.Batches": "__init__:77bef9fc1b __iter__:a9919aed86 __len__:2dcac76398 _in_place:3812c67804",
    "mlplab.data.module.DataModule": (
        "__init__:4103f2aa6a _batches:ba265639ca _scaled_targets:729994d69d as_dict:9fedfe8bad part:a0fb252288 "
        "predict_dataloader:1519bbfd42 read:a8da25c23b setup:e9b7cbc981 test_dataloader:c2312c01f4 "
        "train_dataloader:91886d82a9 val_dataloader:3ef320933b "
    ),
    "mlplab.learner.Learner": (
        "__init__:aa31ad2540 _evaluate:d065e26290 _log_scores:07481f4aa9 _scaled_to_whole_batch:5d01497113 "
        "_seed_step:4efd69ff25 configure_optimizers:3253a96073 on_save_checkpoint:29ea34453e "
        "on_test_epoch_end:2a88aa42b1 on_train_batch_start:6a1001a0a0 on_validation_epoch_end:0b82b64ba8 "
        "optimizer_step:3dff9bbaad test_step:3571b8cb0f training_step:10bdc4fd7f validation_step:0d0ce3ec2b "
    ),
    "mlplab.models.activations": "identity:01979697bb",
    "mlplab.models.inputs.CategoryInputs": "forward:6243f29248",
    "mlplab.models.inputs.PixelInputs": "forward:aa86027e46",
    "mlplab.models.inputs.WithInputs": "forward:89f8066df2",
    "mlplab.models.mlp.BatchNorm": "forward:b855081847",
    "mlplab.models.mlp.HiddenLayer": "forward:459424a005",
    "mlplab.models.mlp.MLP": "forward:dad00e856d",
    "mlplab.objectives.auroc": "one_against_the_rest:fb7b464ba6",
    "mlplab.objectives.losses": (
        "binary_cross_entropy:d99722ac70 cross_entropy:68877138dc huber:97fbd1b13d mae:d867d9fc9a mse:9d56b9d62e "
    ),
    "mlplab.objectives.objective": "predictions:7e01faa144",
    "mlplab.objectives.objective.Objective": "forward:f9794a9909",
    "mlplab.objectives.penalties": "l1_l2_penalty:a62f5125d6",
    "mlplab.objectives.scores": "classification_scores:2d31c143d9 regression_scores:eb53bb723e",
    "mlplab.objectives.scores.MeanLoss": "__init__:fda7875e0f compute:3616abf041 reset:f1c7c25daf update:10b774d4b2",
    "mlplab.objectives.scores.Scores": "__init__:923535b441 compute:5c9227c56e reset:54c724c549 update:f6236392ab",
    "mlplab.optimization.parameter_groups": "regularized_parameters:9c94c38b32",
    "mlplab.optimization.schedules": "build_schedule:18239e21c5",
    "mlplab.randomness": "seed_generators:fa4107a44a",
    "mlplab.result": "evaluate_best:1ce8e7ea69",
    "mlplab.training": "_fit:ba4ac1d1c8 train:ea5affca1b",
    "train": "main:8f293364ba",
}
