"""Errors in how commands are spread over cards and over a cluster, and how long they take."""

POOL, CARDS, SLURM, LAUNCH = "w2s/scheduler.py", "w2s/cards.py", "w2s/slurm.py", "w2s/launch.py"
TIMES, MEMORY = "w2s/durations.py", "w2s/memory.py"
SEATS = "test_cards.py::test_seats_are_spread_over_the_cards"
BLAME = "test_cards.py::test_the_card_that_is_to_blame"
FAILS = "test_cards.py::test_a_card_that_fails_is_left_out_and_its_command_repeated"
FULL = "test_cards.py::test_a_command_that_finds_a_card_full_is_repeated_alone_on_one_once"
ORDER = "test_slurm.py::test_every_command_of_the_whole_plan_waits_for_what_the_scheduler_makes_it_wait_for[miniature]"
ARRAYS = "test_slurm.py::test_arrays_hold_what_may_run_side_by_side_and_wait_for_what_they_read"
BIG = "test_launch.py::test_every_visible_card_is_used_and_a_large_model_gets_several"
SHARE = "test_launch.py::test_models_that_are_small_share_a_card_and_others_do_not"
LINE = "test_launch.py::test_a_line_says_folder_variables_device_and_dtype"
CLUSTER = "test_launch.py::test_a_cluster_trains_in_bfloat16_on_cards_whatever_this_machine_has"
PAST = "test_durations.py::test_what_is_remembered_is_scaled_to_the_machine_of_now"
SEEN = "test_cards.py::test_the_cards_that_are_visible"

ERRORS = [
    # which cards there are
    (CARDS, 'if named is None:', 'if not named:', SEEN),
    (CARDS, 'if line[:4] == "GPU ")]', ')]', SEEN),
    (CARDS, 'itertools.takewhile(lambda', 'filter(lambda', SEEN),
    (CARDS, 'if count and count > len(names):', 'if count and count >= 10 ** 4:', "test_cards.py::test_more_cards_than_there_are_is_one_line"),
    (CARDS, 'return names[:count]', 'return names', "test_cards.py::test_more_cards_than_there_are_is_one_line"),
    (CARDS, 'int(size) * 2 ** 20', 'int(size) * 10 ** 6', "test_cards.py::test_memory_is_that_of_the_smallest"),
    (CARDS, 'return done.stdout.splitlines() if not done.returncode else []', 'return done.stdout.splitlines()', "test_cards.py::test_a_machine_without_nvidia_smi_has_none"),
    ("w2s/device.py", ' or SHARED in os.environ', '', "test_cards.py::test_a_process_with_a_card_does_not_take_the_cpu_instead"),
    # which a command gets
    (CARDS, 'self.most = -(-jobs // len(cards))', 'self.most = jobs // len(cards)', SEATS),
    (CARDS, 'min(usable, key=lambda card: load[card])', 'usable[0]', SEATS),
    (CARDS, ' and card not in shut]', ']', SEATS),
    (CARDS, 'if count > 1 or alone:', 'if count > 1:', SEATS),
    (CARDS, 'self.jobs = min(self.jobs, self.most * len(self.cards))', 'pass', "test_cards.py::test_a_card_that_is_left_out_is_given_to_no_command"),
    (POOL, 'env=os.environ | environment(cards))', 'env=os.environ)', "test_cards.py::test_each_command_has_a_card_of_its_own"),
    (POOL, 'if not alone and worker.cards == cards:', 'if not alone:', "test_cards.py::test_each_command_has_a_card_of_its_own", "there are as many workers as cards, none idle while another starts"),
    # what fails
    (CARDS, 'int(ranks[-1])', 'int(ranks[0])', BLAME),
    (CARDS, 'died = code < 0 or len(cards) > 1 and DIED.search(output)', 'died = code < 0', BLAME),
    (CARDS, 'died = code < 0 or', 'died = code or', BLAME),
    (POOL, '            self.seats.leave_out(card)\n', '', FAILS),
    (POOL, 'card is not None and command.number not in self.moved', 'card is not None', "test_cards.py::test_a_command_that_fails_on_two_cards_stops_everything"),
    (POOL, 'len(self.seats.cards) - (card in self.seats.cards) < command.cards()', 'False', "test_cards.py::test_what_is_no_cards_fault_or_has_no_other_card_stops"),
    (POOL, '            self.alone.add(command.number)\n', '', FULL),
    (POOL, ' and self.seats.most > 1 and not worker.alone:', ':', FULL),
    (POOL, '            if not self.running():\n                self.fail(', '            if False:\n                self.fail(', "test_cards.py::test_a_run_that_needs_more_cards_than_are_left_stops"),
    # several cards, several commands on a card
    (LAUNCH, 'return words if processes == 1 else', 'return words if processes else', BIG),
    (LAUNCH, 'if not step.trained or count < 2 or not size or whole(step, words):', 'if not step.trained or count < 2 or not size:', BIG),
    (LAUNCH, 'step.task == "privacy" and value(words, "--lam") not in ("0", "0.0")', 'step.task == "privacy" and value(words, "--lam") not in ("0", "0.0", None)', "test_launch.py::test_private_runs_are_never_spread"),
    (LAUNCH, 'value(words, "--lora-rank") not in (None, "0")', 'value(words, "--lora-rank") is not None', "test_launch.py::test_what_wants_a_whole_model_is_never_spread"),
    (LAUNCH, 'if not size or None in needs:', 'if not size:', SHARE),
    (LAUNCH, 'min(fitting, SIDE_BY_SIDE, cores // count)', 'min(fitting, SIDE_BY_SIDE)', SHARE),
    (LAUNCH, 'min(fitting, SIDE_BY_SIDE, cores // count)', 'min(SIDE_BY_SIDE, cores // count)', SHARE),
    (LAUNCH, 'size // (max(needs, default=0) + CONTEXT)', 'size // (min(needs, default=0) + CONTEXT)', SHARE),
    (LAUNCH, '- {None, "auto", "cuda"}', '- {None, "auto"}', "test_launch.py::test_without_cards_commands_share_the_cores"),
    (MEMORY, '<= ROOM * memory', '<= memory', "test_launch.py::test_the_cards_of_a_model_are_those_of_the_plan_of_memory", "none of the shapes lies between"),
    (MEMORY, '<= SPARE * memory), most)', '<= ROOM * memory), most)', "test_launch.py::test_the_cards_of_a_model_are_those_of_the_plan_of_memory"),
    (MEMORY, 'block, outside = 2 * D * sum(heads(c)) + 3 * D * width', 'block, outside = 2 * D * sum(heads(c)) + 2 * D * width', "test_launch.py::test_a_decoder_is_counted_without_building_it"),
    (MEMORY, '(0 if tied else V * D)', 'V * D', "test_launch.py::test_a_decoder_is_counted_without_building_it"),
    # what is printed
    (LAUNCH, '        print(f"# {phase}")\n        for _, words', '        for _, words', "test_launch.py::test_phases_are_lines_in_their_places"),
    (LAUNCH, 'and value(words, f"--{name}") is None:', ':', LINE),
    (LAUNCH, 'if not (step.trained or step.run in ON_DEVICE):', 'if not step.trained:', LINE),
    (LAUNCH, 'gpu = "cuda" if cards.visible() else "cpu"', 'gpu = "auto"', LINE),
    (LAUNCH, 'cd {shlex.quote(str(HERE))} && ', '', LINE),
    ("w2s/phases.py", 'if cluster or fast_bfloat16():', 'if fast_bfloat16():', CLUSTER),
    (LAUNCH, 'options.gpus or CARDS, size)', 'CARDS, size)', CLUSTER),
    (LAUNCH, 'if value(command.words, "--device") == "cuda" else 0', 'if True else 0', CLUSTER),
    # job arrays
    (SLURM, '1 + max((heights[number] for number in wait), default=-1)', '1 + min((heights[number] for number in wait), default=-1)', ORDER),
    (SLURM, 'groups.setdefault((level, count), [])', 'groups.setdefault((level, 0), [])', ARRAYS),
    (SLURM, 'len(place) == len(needed) > 1 and all(', 'all(', ARRAYS),
    (SLURM, '"aftercorr" if same else "afterok"', '"aftercorr"', ORDER),
    (SLURM, '"aftercorr" if same else "afterok"', '"afterok"', ARRAYS),
    (SLURM, 'implied |= set() if same else behind[other.number]', 'implied |= behind[other.number] | {other.number - 1}', ORDER),
    (SLURM, 'implied |= set() if same else behind[other.number]', 'implied |= behind[other.number]', ORDER, "no array of the plan waits otherwise for one that stands behind an aftercorr"),
    (SLURM, "<<'{END}'", '<<{END}', "test_slurm.py::test_a_cluster_runs_the_plan_and_sent_again_nothing_is_done_twice"),
    (SLURM, 'for k in range(0, len(group), MOST)]', 'for k in range(1)]', "test_slurm.py::test_a_long_array_is_sent_in_parts"),
    # how long
    (TIMES, 'if ALREADY in output or PARTLY', 'if PARTLY', "test_durations.py::test_a_command_takes_the_mean_of_its_kind_or_of_trainings_of_its_model"),
    (TIMES, 'return sum(times) / len(times)\n', 'return max(times)\n', "test_durations.py::test_a_command_takes_the_mean_of_its_kind_or_of_trainings_of_its_model"),
    (TIMES, ' or what == ["pretrain"]', '', "test_durations.py::test_rows_that_are_slow_to_make_say_nothing_of_the_base_models"),
    (TIMES, '2:3] if name.startswith("w2s.") else []', '0:0]', "test_durations.py::test_rows_that_are_slow_to_make_say_nothing_of_the_base_models"),
    (TIMES, 'if key not in measured} | measured', '} | measured', "test_durations.py::test_the_file_is_bounded"),
    (TIMES, '[-MOST:]', '', "test_durations.py::test_the_file_is_bounded"),
    (TIMES, 'clock + seconds(commands[number])', 'seconds(commands[number])', "test_durations.py::test_time_is_that_of_the_last_one_on_so_many_seats"),
    (TIMES, 'if not count]', ']', "test_durations.py::test_time_is_that_of_the_last_one_on_so_many_seats"),
    (TIMES, 'r"\\bseed\\d+ ?|\\d"', 'r"\\d"', "test_durations.py::test_a_kind_is_the_same_run_of_any_seed"),
    (POOL, '[(max(0, self.pace.seconds(w.command) - w.seconds()), w.command.number)', '[(self.pace.seconds(w.command), w.command.number)', "test_scheduler.py::test_the_time_left_counts_what_running_commands_have_had"),
]
