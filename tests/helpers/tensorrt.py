"""A stand-in for TensorRT's Python package: it records what it is asked for. Its engines are ONNX graphs, and what runs
them is ONNX Runtime, which reads from and writes to the addresses that it is given."""

import ctypes
import importlib.machinery
import types

import numpy as np
import onnx
import onnxruntime


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)


class Parser:
    num_errors = 1

    def __init__(self, network, log):
        self.network, self.logger = network, log

    def parse(self, data):
        try:
            self.network["graph"] = onnx.load_model_from_string(data)
        except Exception:
            return False
        return True

    def get_error(self, i):
        return types.SimpleNamespace(desc=lambda: "no graph")


class Config:
    def __init__(self, calls):
        self.calls = calls

    def clear_flag(self, flag):
        self.calls.append(("clear_flag", flag))

    def set_memory_pool_limit(self, pool, size):
        self.calls.append(("pool", pool, size))

    def add_optimization_profile(self, profile):
        self.calls.append(("profile", profile.shapes))


class Profile:
    def set_shape(self, name, least, typical, most):
        self.shapes = {name: (least, typical, most)}


class Engine:
    def __init__(self, data):
        self.session = onnxruntime.InferenceSession(bytes(data))
        self.io = {i.name: i for i in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.io)

    def get_tensor_name(self, i):
        return list(self.io)[i]

    def get_tensor_mode(self, name):
        return "INPUT" if name == self.session.get_inputs()[0].name else "OUTPUT"

    def get_tensor_dtype(self, name):
        return {"tensor(float)": "FLOAT", "tensor(float16)": "HALF"}[self.io[name].type]

    def get_tensor_shape(self, name):
        return tuple(n if isinstance(n, int) else -1 for n in self.io[name].shape)

    def get_tensor_profile_shape(self, name, i):
        return (1, 3, 16, 16), (1, 3, 64, 96), (2, 3, 192, 192)

    def create_execution_context(self):
        return Context(self)


class Context:
    def __init__(self, engine):
        self.engine, self.addresses, self.ran = engine, {}, []

    def set_input_shape(self, name, shape):
        least, _, most = self.engine.get_tensor_profile_shape(name, 0)
        self.shape = shape
        return all(a <= n <= b for a, n, b in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name):
        batch, _, height, width = self.shape
        return (batch, self.engine.io[name].shape[1], height * width // 64 + height * width // 256)

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        self.ran.append((self.shape, stream))
        name = self.engine.get_tensor_name(0)
        count = int(np.prod(self.shape))
        half = self.engine.get_tensor_dtype(name) == "HALF"
        kind = ctypes.c_uint16 if half else ctypes.c_float
        array = np.ctypeslib.as_array(ctypes.cast(self.addresses[name], ctypes.POINTER(kind)), (count,))
        array = (array.view(np.float16) if half else array).reshape(self.shape)
        outputs = self.engine.session.run(None, {name: array})
        for output, found in zip(self.engine.session.get_outputs(), outputs, strict=True):
            ctypes.memmove(self.addresses[output.name], found.ctypes.data, found.nbytes)
        return True


def stand_in():
    """The module, and the list of what it is asked for."""
    calls = []

    class Builder:
        def __init__(self, log):
            self.log_of = log

        def create_network(self, flags):
            calls.append(("network", flags))
            return {}

        def create_builder_config(self):
            return Config(calls)

        def create_optimization_profile(self):
            return Profile()

        def build_serialized_network(self, network, config):
            if network["graph"].graph.node[0].op_type == "NotThere":
                self.log_of.log(ILogger.ERROR, "no such operation\nand more")
                return None
            return network["graph"].SerializeToString()

    class Runtime:
        def __init__(self, log):
            self.log_of = log

        def deserialize_cuda_engine(self, data):
            try:
                return Engine(data)
            except Exception:
                self.log_of.log(ILogger.ERROR, "serialization version mismatch\nand more")
                return None

    module = types.ModuleType("tensorrt")
    module.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)  # torch.export looks for it
    module.Builder, module.Runtime, module.OnnxParser, module.ILogger = Builder, Runtime, Parser, ILogger
    module.NetworkDefinitionCreationFlag = types.SimpleNamespace(STRONGLY_TYPED=1)
    module.BuilderFlag = types.SimpleNamespace(TF32="TF32")
    module.MemoryPoolType = types.SimpleNamespace(WORKSPACE="WORKSPACE")
    module.TensorIOMode = types.SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    module.DataType = types.SimpleNamespace(FLOAT="FLOAT", HALF="HALF")
    return module, calls
