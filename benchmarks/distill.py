"""Training: the loss against its matrix products, a step against plain fine-tuning, padding, collation.

    python -m benchmarks.distill [--quick]

One thread, CPU seconds, the least (loss) or the median (steps, in alternating pairs) of several. ``--quick`` takes a
quarter of the rows and few steps. null: not measured with ``--quick`` (the memory that `plan` predicts), or not possible here
(bf16 without bf16 instructions, padding without ../shared). The last line is JSON.
"""

import argparse
import json
import statistics

import torch

from benchmarks.distill_cases import Loss, Size, Step, collation, dialogue_lengths, padding, seconds
from benchmarks.plan_memory import CASES, errors

SIZES = {
    "v32k": Size(2048, 1024, 32001),
    "v152k": Size(1024, 512, 151_646),
    "v32k_frozen_head": Size(2048, 1024, 32001, trained=False),
    "v32k_bf16": Size(2048, 1024, 32001, torch.bfloat16),
}
DENSE = ("v32k", "v152k", "v32k_bf16")


def has_bf16() -> bool:
    """Whether this processor multiplies bf16 matrices itself (AMX, or AVX-512 BF16)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def losses(quick: bool) -> dict[str, dict[str, float | None]]:
    """Ratios and extra memory at each size."""
    over, extra, dense = dict[str, float | None](), dict[str, float | None](), dict[str, float | None]()
    for name, size in SIZES.items():
        if size.dtype == torch.bfloat16 and not has_bf16():
            over[name] = extra[name] = None
            continue
        loss = Loss(size._replace(rows=size.rows // 4) if quick else size)
        loss.ours()
        extra[name] = round(loss.extra_mb())
        pairs = [(seconds(loss.ours), seconds(loss.products)) for _ in range(2 if quick else 4)]
        ours = min(pair[0] for pair in pairs)
        over[name] = round(ours / min(pair[1] for pair in pairs), 3)
        if name in DENSE:
            dense[name] = round(seconds(loss.dense) / ours, 2)
        print(
            f"loss {name}: {over[name]} of its products, {extra[name]} MB extra, dense {dense.get(name)}",
            flush=True,
        )
    return {"loss_over_products": over, "loss_extra_mb": extra, "dense_over_loss": dense}


def steps(quick: bool) -> dict[str, object]:
    """A whole step with fused targets against plain fine-tuning, and bf16 against fp32."""
    sizes = (256, 128, 10) if quick else (1024, 256, 30)
    step = Step(*sizes)
    fused, full = over_sft(step, quick)
    half = None
    if has_bf16():
        step.fused(True)
        half = statistics.median(seconds(lambda: step.fused(True)) for _ in range(3)) / fused
    lora = Step(*sizes, rank=16)
    ratios = {"full": round(full, 3), "lora": round(over_sft(lora, quick)[1], 3)}
    print(
        f"a step with LoRA takes {lora.extra_mb(lora.fused):.0f} MB, SFT's {lora.extra_mb(lora.plain):.0f} MB"
    )
    return {
        "step_over_sft": ratios,
        "bf16_over_fp32_step": None if half is None else round(half, 3),
    }


def over_sft(step: Step, quick: bool) -> tuple[float, float]:
    """Seconds of a step with fused targets, and its ratio to one of plain fine-tuning: medians of alternating pairs."""
    step.fused(False)
    pairs = [
        (seconds(lambda: step.fused(False)), seconds(lambda: step.plain(False)))
        for _ in range(3 if quick else 9)
    ]
    ratio = statistics.median(fused / plain for fused, plain in pairs)
    return statistics.median(fused for fused, _ in pairs), ratio


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller, under 90 s")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    lengths = dialogue_lengths(200 if quick else 1000)
    real, imbalance = (None, None) if lengths is None else padding(lengths)
    figures = losses(quick) | steps(quick)
    figures |= {
        "real_positions": None if real is None else round(real, 4),
        "rank_imbalance": None if imbalance is None else round(imbalance, 4),
        "collation_rows_per_s": round(collation(500 if quick else 4000)),
        "plan_memory_error": dict.fromkeys(CASES) if quick else errors(list(CASES), "135m", 256),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
