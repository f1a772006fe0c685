"""ONNX Runtime: MultiHeadAttention, its fused kernel, for plain and causal rules; else the standard's Attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard.bench.case import Pass
from regard.bench.task import Run, Task, Unable, only, wanted

__all__ = ["prepare"]


def prepare(task: Task) -> Run:
    """One operator in a graph of its own; inputs lie ready in its memory and layout."""
    only(task, "pattern", "bias", "cap")
    if task.which is not Pass.FORWARD:
        raise Unable("it infers only: no backward pass")
    if task.case.dtype != torch.float32:
        raise Unable("on a CPU its kernels are for float32")
    wanted("onnx", "onnxruntime")
    shape, rule = task.case.shape, task.case.rule
    fused = shape.heads == shape.kv_heads and task.cap is None and rule.bias is None
    if fused and (rule.pattern is None or task.is_causal):
        return _fused(task)
    arrays = [tensor.numpy() for tensor in task.inputs]
    mask = task.bias if task.bias is not None else None if task.is_causal else task.visible
    if mask is not None:
        arrays.append(mask.numpy())
    options: dict[str, Any] = {"is_causal": int(task.is_causal)}
    if task.cap is not None:
        options["softcap"] = task.cap
    return _run(arrays, torch.from_numpy, "Attention", **options)


def _fused(task: Task) -> Run:
    shape = task.case.shape
    arrays = [np.ascontiguousarray(tensor.transpose(1, 2).flatten(2).numpy()) for tensor in task.inputs]

    def back(out: Any) -> Tensor:
        made: Tensor = torch.from_numpy(out).unflatten(2, (shape.heads, -1)).transpose(1, 2)
        return made

    options = {"num_heads": shape.heads, "unidirectional": int(task.is_causal)}
    return _run(arrays, back, "MultiHeadAttention", domain="com.microsoft", **options)


def _run(arrays: list[Any], back: Callable[[Any], Tensor], operator: str, **options: Any) -> Run:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # its threads would burden the others
    session = onnxruntime.InferenceSession(
        _graph(arrays, operator, options), settings, providers=["CPUExecutionProvider"]
    )
    bound = session.io_binding()
    held = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in arrays]
    for place, array in enumerate(held):
        bound.bind_ortvalue_input(f"in{place}", array)
    bound.bind_output("out")

    def call() -> Any:
        session.run_with_iobinding(bound)
        return bound.get_outputs()[0]

    return Run(call, lambda made: (back(made.numpy()),))


def _graph(arrays: list[Any], operator: str, options: dict[str, Any]) -> bytes:
    from onnx import TensorProto, helper

    kinds = [TensorProto.BOOL if array.dtype == np.bool_ else TensorProto.FLOAT for array in arrays]
    names = [f"in{place}" for place in range(len(arrays))]
    inputs = [
        helper.make_tensor_value_info(name, kind, array.shape)
        for name, kind, array in zip(names, kinds, arrays, strict=True)
    ]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    graph = helper.make_graph([helper.make_node(operator, names, ["out"], **options)], "attention", inputs, outputs)
    versions = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    made: bytes = helper.make_model(graph, opset_imports=versions, ir_version=10).SerializeToString()
    return made
