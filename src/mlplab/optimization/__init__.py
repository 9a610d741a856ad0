"""How the loss is made small: parameter groups, optimizers, schedules."""
