"""The words of the parts of the page that react to the reader, in English and Chinese."""

from __future__ import annotations

from typing import Any

from gatescope.analysis.faithfulness import ERASURE, PERMUTED, SEEDS, TAU

_TAU = list(TAU.values())

ENGLISH: dict[str, Any] = {
    "sentence": "Sentence",
    "unit": "Unit",
    "most_variable": "Unit that varies most",
    "gates_table": "The numbers of this unit at each word",
    "gates_says": "Unit {unit}. z is highest at “{high}” ({highest}): there the unit writes most. It is "
    "lowest at “{low}” ({lowest}): there it keeps most. Prediction of the network: {prediction} (true:"
    " {target}).",
    "gates_chart": "z, r, candidate and state of one unit at each word; the numbers are in the table below",
    "z": "Hold z at",
    "r": "Hold r at",
    "learned": "as learned",
    "held": "held",
    "memory_chart": "State of one unit at each word, as learned and with the gates held",
    "memory_says": "z {z}, r {r}: the network says {prediction} ({probability} %), as learned {before}. "
    "Effect of the first word “{word}” on the last state: {left} (as learned {left_before}).",
    "decay": " With z at {z} a state would keep {share} % after 10 words without anything new: (1 − z)¹⁰.",
    "left_table": "What is left of each word in the last state: norm of ∂h_T/∂x_s, and state of the unit",
    "left_row": "left at the end",
    "state_row": "state, held",
    "learned_row": "state, as learned",
    "task": "Task",
    "task_lag": "recall a symbol after N steps",
    "step": "Training",
    "lag": "Lag",
    "fading_chart": "What is left of a gradient by lag; the numbers at the chosen lag are in the table below",
    "fading_says": "After {step} updates, {lag} steps back: {parts}.",
    "fading_table": "Part of a gradient that is left at the chosen lag",
    "cell": "cell",
    "left": "left",
    "before": "before training",
    "accuracy": "accuracy of the task at the end",
    "seeds": "seeds",
    "lag_axis": "lag (steps)",
    "left_axis": "norm relative to lag 0",
    "updates": "{step} updates",
    "steps_back": "{lag} steps back",
    "network": "Network",
    "seed": "seed",
    "attention_table": "Attention of each word, and change of the prediction without it",
    "attention_row": "attention",
    "loo_row": "change without the word",
    "attention_says": "Attention is highest at “{attended}”. The prediction ({prediction}) changes most "
    "without “{decisive}”: {agree}. Agreement of the two orders, Kendall's τ: {tau}.",
    "same": "the same word",
    "other": "another word",
    "tests_table": "Attention of all test examples that were measured: mean over n seeds and 95 % interval",
    "measure": "measure",
    "chance": "by chance",
    "quantities": dict(
        zip(
            (*_TAU, PERMUTED, *ERASURE.values(), SEEDS),
            (
                "agreement with gradient × input (τ)",
                "agreement with leave-one-out (τ)",
                "agreement with integrated gradients (τ)",
                "change of the prediction if weights are shuffled",
                "prediction lost without the top words (0–1)",
                "prediction kept with the top words alone (0–1)",
                "difference of the weights of two seeds (nats, at most 0.693)",
            ),
            strict=True,
        )
    ),
    "references": dict.fromkeys(_TAU, "0")
    | {PERMUTED: "–", SEEDS: "–"}
    | dict.fromkeys(ERASURE.values(), ""),
    "holds": "holds",
    "partly": "holds in part",
    "fails": "does not hold",
    "open": "undecided",
}

CHINESE: dict[str, Any] = {
    "sentence": "句子",
    "unit": "单元",
    "most_variable": "变化最大的单元",
    "gates_table": "该单元在每个词处的数值",
    "gates_says": "单元 {unit}。z 在“{high}”处最大（{highest}）：此处写入最多；在“{low}”处最小（{lowest}）："
    "此处保留最多。网络的预测：{prediction}（正确答案：{target}）。",
    "gates_chart": "一个单元在每个词处的 z、r、候选状态与状态；数值见下表",
    "z": "将 z 固定为",
    "r": "将 r 固定为",
    "learned": "按训练结果",
    "held": "固定后",
    "memory_chart": "一个单元在每个词处的状态：按训练结果，以及门被固定之后",
    "memory_says": "z {z}，r {r}：网络预测 {prediction}（{probability} %），按训练结果为 {before}。"
    "第一个词“{word}”对最后状态的影响：{left}（按训练结果为 {left_before}）。",
    "decay": "若 z 为 {z} 且没有新内容写入，10 个词之后状态保留 {share} %：(1 − z)¹⁰。",
    "left_table": "每个词在最后状态中还剩多少：∂h_T/∂x_s 的范数，以及该单元的状态",
    "left_row": "最后剩余",
    "state_row": "状态（固定后）",
    "learned_row": "状态（按训练结果）",
    "task": "任务",
    "task_lag": "在 N 步之后回忆一个符号",
    "step": "训练",
    "lag": "时间距离",
    "fading_chart": "梯度随时间距离的剩余量；所选距离处的数值见下表",
    "fading_says": "更新 {step} 次之后，向前 {lag} 步：{parts}。",
    "fading_table": "所选距离处梯度的剩余部分",
    "cell": "单元类型",
    "left": "剩余",
    "before": "训练之前",
    "accuracy": "训练结束时该任务的准确率",
    "seeds": "种子数",
    "lag_axis": "时间距离（步）",
    "left_axis": "相对于距离 0 的范数",
    "updates": "更新 {step} 次",
    "steps_back": "向前 {lag} 步",
    "network": "网络",
    "seed": "种子",
    "attention_table": "每个词的注意力权重，以及去掉该词后预测的变化",
    "attention_row": "注意力",
    "loo_row": "去掉该词的变化",
    "attention_says": "注意力在“{attended}”处最大。去掉“{decisive}”时预测（{prediction}）变化最大：{agree}。"
    "两种排序的一致程度（Kendall τ）：{tau}。",
    "same": "是同一个词",
    "other": "是另一个词",
    "tests_table": "对所测全部样本的注意力：n 个种子的平均值与 95 % 区间",
    "measure": "指标",
    "chance": "随机水平",
    "quantities": dict(
        zip(
            ENGLISH["quantities"],
            (
                "与“梯度 × 输入”的一致程度（τ）",
                "与“逐词去除”的一致程度（τ）",
                "与“积分梯度”的一致程度（τ）",
                "打乱权重后预测的变化",
                "去掉权重最大的词后损失的预测（0–1）",
                "只留权重最大的词时保留的预测（0–1）",
                "两个种子的权重之差（奈特，最大 0.693）",
            ),
            strict=True,
        )
    ),
    "references": ENGLISH["references"],
    "holds": "成立",
    "partly": "部分成立",
    "fails": "不成立",
    "open": "未定",
}

LANGUAGES = {"en": ENGLISH, "zh": CHINESE}
