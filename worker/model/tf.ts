// TensorFlow.js's core, the language that model code is written in: the one place that imports it.
// It brings no way to compute; the engines register one.

export * as tf from "@tensorflow/tfjs-core";
