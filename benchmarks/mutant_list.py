"""The mutants of `benchmarks.mutants`: one small mistake each in the numeric core, and the tests that should notice it."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A mistake made on purpose.

    Attributes:
        kind: What sort of mistake.
        file: The file, relative to ``src/fusionchat``.
        old: Text that occurs in it exactly once.
        new: What replaces it.
        tests: Tests of which at least one should fail, as pytest names them, below ``tests/``.
    """

    kind: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    # tokens meet
    Mutant(
        "off by one", "align/positions.py", "text_M[j + 1] <= context)", "text_M[j + 1] < context)",
        ("align/test_positions.py::test_attaching_to_itself_is_the_identity",),
    ),
    Mutant(
        "dropped tail", "align/projection/kernel.py", "scale = mass + tail\n", "scale = mass\n",
        ("align/projection/test_project.py::test_the_tail_has_its_share_by_hand",),
    ),
    Mutant(
        "dropped tail", "align/projection/kernel.py",
        "        else:\n            tail += scratch.slot_mass[s]", "        else:\n            tail += 0.0",
        ("align/projection/test_kernel.py::test_the_largest_are_written_the_label_among_them",),
    ),
    Mutant(
        "counted twice", "align/projection/path.py",
        "need = mass - goal_mass(scratch, known.entries, goal)", "need = mass",
        ("align/projection/test_path.py::test_a_label_over_two_tokens_takes_their_product_from_the_first",),
    ),
    Mutant(
        "forgotten factor", "align/projection/path.py",
        "product *= np.exp(np.float64(source.label_logprob[at]))",
        "product = np.exp(np.float64(source.label_logprob[at]))",
        ("align/projection/test_path.py::test_the_chain_multiplies_and_ends_inside_a_token",),
    ),
    Mutant(
        "forgotten case", "align/trie.py", "(not whole or at == high - 1)", "(not whole or at >= low)",
        ("align/test_vocabulary.py::test_exact_is_equal_bytes",),
    ),
    Mutant(
        "wrong tie", "align/cooccurrence.py", "                if found < best:", "                if found <= best:",
        ("align/test_vocabulary.py::test_the_corpus_chooses_among_prefixes",
         "align/test_vocabulary.py::test_statistics_fall_back_to_the_nearest",
         "align/test_cooccurrence.py"),
    ),
    Mutant(
        "off by one", "align/baselines/min_edit.py", "min(change, row[j] + 1, row[j + 1] + 1)",
        "min(change, row[j] + 1, row[j + 1])",
        ("align/baselines/test_min_edit.py::test_the_distance_is_levenshteins",),
    ),
    Mutant(
        "wrong byte", "align/positions.py", "residual_N[i] = context - begin_M[j]", "residual_N[i] = context - text_M[j]",
        ("align/test_positions.py::test_equals_the_slow_reference",),
    ),
    Mutant(
        "off by one", "align/positions.py", "text_M[j] < context < end_M[j]", "text_M[j] < context <= end_M[j]",
        ("align/test_positions.py::test_what_the_source_lacks_is_nowhere",
         "align/test_positions.py::test_equals_the_slow_reference"),
    ),
    Mutant(
        "off by one", "tokens/spans.py", "return other, 1 - skip", "return other, skip",
        ("tokens/test_spans.py",),
    ),
    # distributions
    Mutant(
        "dropped tail", "represent/select.py", "values[:, blocks * BLOCK :]", "values[:, v:]",
        ("represent/test_select.py::test_the_last_tokens_are_not_forgotten",),
    ),
    Mutant(
        "sign", "represent/kernel.py", "np.exp(np.float64(root) - np.float64(values[0]))",
        "np.exp(np.float64(values[0]) - np.float64(root))",
        ("represent/test_select.py::test_tail_and_label_equal_those_of_fp64",),
    ),
    Mutant(
        "wrong tie", "represent/kernel.py", "token > other_token)", "token < other_token)",
        ("represent/test_select.py::test_ids_and_values_are_topks_and_ties_go_to_the_lower_id",),
    ),
    Mutant(
        "dropped rest", "represent/kernel.py",
        "    for x in x_T[done:]:\n        total += exp_under(x, reference)", "    for x in x_T[done:]:\n        total += x * 0",
        ("represent/test_kernel.py::test_sums_are_within_a_millionth",),
    ),
    Mutant(
        "forgotten maximum", "represent/events.py", "max(reach, end[row])", "end[row]",
        ("represent/test_events.py",),
    ),
    # fusion
    Mutant(
        "dropped tail", "fuse/fuse.py", "np.sum(tails, axis=0) + cut", "np.sum(tails, axis=0)",
        ("fuse/test_fuse.py::test_what_a_narrower_mixture_cuts_off_joins_its_tail",),
    ),
    Mutant(
        "wrong axis", "fuse/rules/mean_ce.py", "weight / weight.sum(axis=0)", "weight / weight.sum(axis=1)[:, None]",
        ("fuse/rules/test_mean_ce.py::test_three_models_by_hand",),
    ),
    Mutant(
        "sign", "fuse/rules/gate.py", "scores[0] - least_U >", "least_U - scores[0] >",
        ("fuse/rules/test_gate.py",),
    ),
    Mutant(
        "inverted", "fuse/temper.py", "hot = logprobs / temperature", "hot = logprobs * temperature",
        ("fuse/test_temper.py::test_at_temperature_two_masses_go_by_their_roots",),
    ),
    Mutant(
        "wrong tie", "fuse/rules/gate.py", "> np.float32(self.margin)", ">= np.float32(self.margin)",
        ("fuse/rules/test_gate.py",),
    ),
    Mutant(
        "off by one", "fuse/rules/mean_ce.py", "rank_MU < self.most", "rank_MU <= self.most",
        ("fuse/rules/test_mean_ce.py::test_only_the_best_are_mixed",),
    ),
    Mutant(
        "wrong index", "fuse/rules/route.py", "self.map.get(one, PIVOT), 0)", "self.map.get(one, PIVOT), 1)",
        ("fuse/rules/test_route.py",),
    ),
    Mutant(
        "sign", "fuse/rules/base.py", "np.isnan(ce_MU), np.inf", "np.isnan(ce_MU), -np.inf",
        ("fuse/rules/test_base.py",),
    ),
    Mutant(
        "wrong axis", "fuse/rules/base.py", "np.argmin(comparable(scores_MU), axis=0)",
        "np.argmin(comparable(scores_MU), axis=1)[: scores_MU.shape[1]]", ("fuse/rules/test_base.py::test_the_least_takes_all",),
    ),
    Mutant(
        "wrong units", "fuse/scores.py", "nats / NATS_PER_BIT", "nats * NATS_PER_BIT",
        ("fuse/test_scores.py",),
    ),
    # the loss
    Mutant(
        "sign", "distill/gradient.py", "logits_NV.mul_(1.0 - (1.0 - weight)", "logits_NV.mul_(1.0 + (1.0 - weight)",
        ("distill/test_gradient.py::test_the_closed_form_is_the_derivative",),
    ),
    Mutant(
        "dropped tail", "distill/gradient.py", "divergence += torch.where(mass > 0, mass *",
        "divergence += torch.where(mass > 0, 0 *",
        ("distill/test_loss.py::test_a_hand_written_row",),
    ),
    Mutant(
        "forgotten factor", "distill/gradient.py",
        "log_p.exp() - (1.0 - weight) * towards.q", "log_p.exp() - towards.q",
        ("distill/test_gradient.py::test_the_closed_form_is_the_derivative",),
    ),
    Mutant(
        "swapped weights", "distill/loss.py", "weight_N * label + (1 - weight_N) * divergence",
        "(1 - weight_N) * label + weight_N * divergence",
        ("distill/test_loss.py::test_a_hand_written_row",),
    ),
    Mutant(
        "forgotten derivative", "distill/loss.py", "gradient = shaped if slope is None else shaped.mul_(slope)",
        "gradient = shaped",
        ("distill/test_loss.py::test_value_and_gradients_equal_the_dense_reference",),
    ),
    Mutant(
        "off by one", "distill/schedule.py", "step / (steps - 1)", "step / steps", ("distill/test_schedule.py",),
    ),
    Mutant(
        "forgotten factor", "distill/loss.py", "share_N * loss", "loss",
        ("distill/test_loss.py",),
    ),
    Mutant(
        "off by one", "distill/rounding.py", "bitwise_right_shift_(16)", "bitwise_right_shift_(15)",
        ("distill/test_rounding.py",),
    ),
    Mutant(
        "sign", "distill/best.py", "found.bits_per_byte >= self.best", "found.bits_per_byte <= self.best",
        ("distill/test_best.py",),
    ),
    Mutant(
        "wrong axis", "distill/origins.py", "weights.sum(0, dtype=np.float64)", "weights.sum(1, dtype=np.float64)[: len(total)]",
        ("distill/test_origins.py",),
    ),
    # a source that is fine-tuned first
    Mutant(
        "forgotten case", "stages/adapt.py", "ref.place.file is None and ref.adapter is None",
        "ref.place.file is None or ref.adapter is None", ("stages/test_adapt.py",),
    ),
    Mutant(
        "forgotten step", "stages/adapt.py", "run.adapted[name] = job.id", "assert job.id",
        ("stages/test_adapt.py::test_the_pivot_may_be_a_teacher_that_knows_the_corpus",),
    ),
    # statistics
    Mutant(
        "forgotten factor", "evaluate/statistics.py", "np.sqrt(n / (n - 1) * np.sum(residuals_C**2))",
        "np.sqrt(np.sum(residuals_C**2))", ("evaluate/test_statistics.py",),
    ),
    Mutant(
        "sign", "evaluate/statistics.py",
        "np.sqrt(moved + 1 - net**2 / (n + 2))", "np.sqrt(moved + 1 + net**2 / (n + 2))",
        ("evaluate/test_statistics.py",),
    ),
    Mutant(
        "counted twice", "evaluate/noise.py", "error**2 - sum(own for _, own, _ in parts)", "error**2",
        ("evaluate/test_noise.py",),
    ),
    Mutant(
        "wrong axis", "evaluate/noise.py", "runs_RC - runs_RC.mean(axis=0)", "runs_RC - runs_RC.mean()",
        ("evaluate/test_noise.py",),
    ),
    Mutant(
        "forgotten factor", "evaluate/power.py", "own * sampling**2 / (2 * gain.n)", "own * sampling**2 / gain.n",
        ("evaluate/test_power.py",),
    ),
    Mutant(
        "inverted", "evaluate/power.py", "(1 - share) * errors + share * errors_needed",
        "share * errors + (1 - share) * errors_needed",
        ("evaluate/test_power.py::test_sampling_and_training_need_their_errors_by_variance",),
    ),
    Mutant(
        "sign", "evaluate/t_distribution.py", "return 1 - incomplete_beta(1 - x, b, a)", "return incomplete_beta(1 - x, b, a)",
        ("evaluate/test_t_distribution.py",),
    ),
    Mutant(
        "off by one", "evaluate/choice/score.py", "float(own[end > start].sum())", "float(own[end >= start].sum())",
        ("evaluate/choice/test_score.py",),
    ),
    Mutant(
        "wrong units", "evaluate/token_bits.py", "nats_N / NATS_PER_BIT", "nats_N",
        ("evaluate/test_token_bits.py",),
    ),
    Mutant(
        "sign", "report/results.py", "i: -metric.loss(e.value)", "i: metric.loss(e.value)",
        ("report/test_results.py::test_the_best_is_sought_among_models_of_the_pivot_s_size",),
    ),
    Mutant(
        "sign", "report/results.py", '"gain" if gain.value > 0 else "loss"', '"gain" if gain.value < 0 else "loss"',
        ("report/test_results.py",),
    ),
    # merging
    Mutant(
        "wrong tie", "merge/kernels/bf16.py",
        "bits[i] + _HALF + ((bits[i] >> _CUT) & _ONE)", "bits[i] + _HALF + _ONE",
        ("merge/kernels/test_bf16.py",),
    ),
    Mutant(
        "wrong index", "merge/kernels/gram.py",
        "_inner(delta, delta_JB[k, begin:end])", "_inner(delta, delta_JB[j, begin:end])",
        ("merge/kernels/test_gram.py",),
    ),
    Mutant(
        "sign", "merge/kernels/mix.py", "(np.float64(target[i]) - own *", "(np.float64(target[i]) + own *",
        ("merge/kernels/test_mix.py",),
    ),
    Mutant(
        "wrong tie", "merge/kernels/consensus.py", "if ballot[i] >= 0 else", "if ballot[i] > 0 else",
        ("merge/kernels/test_consensus.py",),
    ),
    Mutant(
        "off by one", "merge/kernels/selection.py",
        "taken = size == limit and quota > 0", "taken = size == limit and quota > 1",
        ("merge/methods/test_largest.py::test_largest_is_the_stable_sort",),
    ),
    Mutant(
        "off by one", "merge/methods/largest.py",
        "self.ties_JKC[:, :, :chunk].sum(2)", "self.ties_JKC[:, :, : chunk + 1].sum(2)",
        ("merge/methods/test_largest.py::test_a_chunk_takes_what_the_chunks_before_it_leave",),
    ),
    Mutant(
        "off by one", "merge/kernels/masks.py",
        "np.float32(0.5) * np.float32(here - 1)", "np.float32(0.5) * np.float32(here)",
        ("merge/kernels/test_masks.py",),
    ),
    Mutant(
        "wrong index", "merge/kernels/masks.py", "_fold(key, index >> 16)", "_fold(key, at >> 16)",
        ("merge/kernels/test_masks.py",),
    ),
    Mutant(
        "forgotten case", "merge/kernels/elements.py",
        "raised[i] = raised[i] if square[i] > 0 else 0.0", "raised[i] = raised[i] + 0.0",
        ("merge/kernels/test_elements.py",),
    ),
    Mutant(
        "wrong axis", "merge/weights.py",
        "total = raised_J.sum(axis=0, keepdims=True)", "total = raised_J.sum(keepdims=True)",
        ("merge/test_weights.py",),
    ),
    Mutant(
        "sign", "merge/methods/spherical.py", "tangent_J = weight_J - (weight_J @ dot_J) * mean_J",
        "tangent_J = weight_J + (weight_J @ dot_J) * mean_J",
        ("merge/methods/test_spherical.py::test_two_unit_changes_at_a_right_angle_by_hand",),
    ),
    Mutant(
        "off by one", "merge/methods/model_stock.py", "count * cosine / (1 + (count - 1) * cosine)",
        "count * cosine / (1 + count * cosine)",
        ("merge/methods/test_model_stock.py::test_two_targets_at_60_degrees_by_hand",),
    ),
    Mutant(
        "wrong weights", "merge/methods/sce.py",
        "vote_J=np.ones(tensor.targets)", "vote_J=eta_J",
        ("merge/methods/test_sce.py",),
    ),
    Mutant(
        "forgotten factor", "merge/methods/dare.py",
        "rescale_J = inverse_J if method.rescale else 1.0", "rescale_J = 1.0",
        ("merge/methods/test_dare.py::test_a_change_is_dropped_or_divided_by_its_chance",),
    ),
    Mutant(
        "off by one", "merge/methods/breadcrumbs.py",
        "(density_J * size).astype(np.int64) + dropped_J", "(density_J * size).astype(np.int64)",
        ("merge/methods/test_breadcrumbs.py::test_breadcrumbs_by_hand",),
    ),
    Mutant(
        "off by one", "merge/methods/largest.py", "len(count) - 1 - down", "len(count) - down",
        ("merge/methods/test_largest.py::test_the_example_of_the_docstring",),
    ),
    Mutant(
        "forgotten factor", "merge/kernels/consensus.py", "total[i] += share if agrees", "total[i] += 1.0 if agrees",
        ("merge/kernels/test_consensus.py::test_only_the_elected_sign_counts",),
    ),
    Mutant(
        "wrong axis", "merge/inputs/adapters/low_rank.py", ".sum(0 if change.transposed else 1)",
        ".sum(1 if change.transposed else 0)", ("merge/inputs/adapters/test_low_rank.py",),
    ),
    Mutant(
        "dropped rest", "merge/stream/cut.py", "return -(-self.size // self.chunk)", "return self.size // self.chunk",
        ("merge/stream/test_cut.py",),
    ),
)  # fmt: skip
