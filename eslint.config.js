import tseslint from "typescript-eslint";

// Coordinator and worker never import each other, and the core does no I/O: the layout is checked here, not by convention.
const forbid = (...patterns) => ["error", { patterns: patterns.map(([regex, message]) => ({ regex, message })) }];

export default tseslint.config(
  { ignores: ["dist/", "examples/", "node_modules/", "proto/gen/", "runs/", ".cache/", "*.config.*"] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "@typescript-eslint/restrict-template-expressions": "off",
      "@typescript-eslint/require-await": "off",
      eqeqeq: "error",
    },
  },
  {
    files: ["coordinator/**/*.ts"],
    rules: { "no-restricted-imports": forbid(["/worker/", "the coordinator never imports the worker"]) },
  },
  {
    files: ["worker/**/*.ts"],
    rules: { "no-restricted-imports": forbid(["/coordinator/", "a worker never imports the coordinator"]) },
  },
  {
    files: ["common/**/*.ts", "proto/**/*.ts"],
    rules: { "no-restricted-imports": forbid(["/(coordinator|worker)/", "shared code imports neither side"]) },
  },
  {
    files: ["coordinator/core/**/*.ts"],
    rules: {
      "no-restricted-imports": forbid(
        ["^node:|/(rpc|store|web|cli)/", "the core is pure: no I/O"],
        ["/worker/", "the coordinator never imports the worker"],
      ),
      "no-restricted-globals": ["error", "setTimeout", "setInterval", "process", "performance", "fetch"],
      "no-restricted-properties": [
        "error",
        { object: "Date", property: "now" },
        { object: "Math", property: "random" },
      ],
    },
  },
);
