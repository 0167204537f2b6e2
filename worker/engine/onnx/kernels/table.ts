// Every TensorFlow.js kernel that the onnx backend can record, by its TensorFlow.js name. To add one: write a function
// that adds its nodes in the file of its kind, and it is in the table. test/unit/engine/kernels.test.ts compares them all
// with TensorFlow.js's own cpu backend.

import type { KernelRecorder } from "../tracing-backend.ts";
import { elementwiseKernels } from "./elementwise.ts";
import { indexingKernels } from "./indexing.ts";
import { layerKernels } from "./layers.ts";
import { matMulKernels } from "./mat-mul.ts";
import { reductionKernels } from "./reductions.ts";
import { shapeKernels } from "./shapes.ts";

export const kernels: Readonly<Record<string, KernelRecorder>> = {
  ...elementwiseKernels,
  ...shapeKernels,
  ...indexingKernels,
  ...reductionKernels,
  ...matMulKernels,
  ...layerKernels,
};
