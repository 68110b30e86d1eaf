"""Preflight, Apple's GPU, and what a machine is asked before anything is made."""

PREFLIGHT, RAW_FOLDER, DEVICE = "w2s/preflight.py", "w2s/data/raw_folder.py", "w2s/device.py"
CARDS, EXPERIMENT, PHASES = "w2s/cards.py", "w2s/experiment.py", "w2s/phases.py"

ERRORS = [
    (PREFLIGHT, "        elif need.public:", "        elif need.where:", "test_preflight.py::test_every_missing_file_of_every_task_is_listed_with_address_and_place"),
    (PREFLIGHT, "if missing and not (skip and rest):", "if missing and not skip:", "test_preflight.py::test_tasks_whose_files_are_missing_are_left_out_if_asked"),
    (PREFLIGHT, "    return missing\n", "    return []\n", "test_preflight.py::test_tasks_whose_files_are_missing_are_left_out_if_asked"),
    (PREFLIGHT, "if not all(good for good, _ in lines)]", "if not any(good for good, _ in lines)]", "test_preflight.py::test_every_missing_file_of_every_task_is_listed_with_address_and_place"),
    (PREFLIGHT, 'for end in ("", ".gz"))]', 'for end in ("",))]', "test_preflight.py::test_own_rows_are_looked_for"),
    (PREFLIGHT, 'OWN = ("weak", "wts", "test")', 'OWN = ("weak", "wts")', "test_preflight.py::test_own_rows_are_looked_for"),
    (PREFLIGHT, 'elif plan.options.raw or plan.preset == "paper":', "elif True:", "test_preflight.py::test_rows_that_are_made_up_are_not_looked_for"),
    ("w2s/launch.py", "seconds / 3600:.1f} hours", "seconds / 60:.1f} hours", "test_preflight.py::test_hours_are_of_what_was_measured_and_memory_is_computed"),
    ("w2s/launch.py", "max(needs) / 1e9", "min(needs) / 1e9", "test_preflight.py::test_hours_are_of_what_was_measured_and_memory_is_computed"),
    ("w2s/launch.py", "if None in needs or not needs:", "if not needs:", "test_preflight.py::test_hours_are_of_what_was_measured_and_memory_is_computed"),
    (RAW_FOLDER, "            if path:\n                return path\n        return None", "            return path", "test_preflight.py::test_each_file_that_a_task_needs_one_of_is_seen"),
    (PHASES, "if task not in without]", "]", "test_preflight.py::test_the_plan_that_is_run_is_the_one_without_them"),
    (EXPERIMENT, "    if not options.dry_run:\n", "    if options.skip_missing:\n", "test_preflight.py::test_the_plan_that_is_run_is_the_one_without_them"),
    (EXPERIMENT, "known = not options.data or cell.D.is_dir()", "known = True", "test_preflight.py::test_rows_that_are_not_there_are_not_said_to_lack_validation_rows"),
    (DEVICE, 'and dtype == "float32" and not unfit:', 'and dtype == "float32":', "test_cards.py::test_auto_takes_mps_for_what_it_can_do"),
    (DEVICE, 'and dtype == "float32" and not unfit:', "and not unfit:", "test_cards.py::test_auto_takes_mps_for_what_it_can_do"),
    (DEVICE, 'if name == "cpu" and has_mps()', "if has_mps()", "test_cards.py::test_auto_takes_cuda_before_mps_and_mps_nowhere_else"),
    (DEVICE, 'return torch.float32 if device.type == "mps" else torch.float64', "return torch.float64", "test_cuda.py::test_every_script_runs_on_apples_gpu"),
    ("w2s/device.py", '"8192"', '"1024"', "test_training.py::test_a_product_of_a_shape_that_was_there_is_not_prepared_again"),
    ("w2s/device.py", '    if torch.device(device).type != "cuda":\n        return value.to(device)', '    if torch.device(device).type == "cpu":\n        return value.to(device)', "test_cuda.py::test_every_script_runs_on_apples_gpu"),
    ("w2s/training.py", "cfg.dtype, without_mps(private))", 'cfg.dtype, "")', "test_cuda.py::test_private_training_is_refused_on_apples_gpu"),
    (CARDS, '(private, "--device mps: cannot', '(False, "--device mps: cannot', "test_cards.py::test_a_plan_for_a_mac_is_refused_before_anything_is_made"),
    (CARDS, "cuda(:\\d{1,4})?", "cuda", "test_cards.py::test_mps_is_refused_where_there_is_no_mac"),
    (PHASES, 'if cards.apple() and self.preset != "paper":', "if cards.apple():", "test_cards.py::test_models_too_small_for_a_gpu_stay_on_a_macs_cpu"),
    (PHASES, "if cards.apple() and self", 'if False and self', "test_cards.py::test_models_too_small_for_a_gpu_stay_on_a_macs_cpu"),
    ("w2s/launch.py", "(cards.apple() or shutil.which", "(shutil.which", "test_cards.py::test_one_command_at_a_time_has_a_macs_gpu"),
]
