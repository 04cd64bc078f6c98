import js from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["page/dist/", "test-results/", "node_modules/"] },
  js.configs.recommended,
  {
    files: ["**/*.ts"],
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { project: "./tsconfig.json", tsconfigRootDir: import.meta.dirname } },
    rules: {
      "max-lines": ["error", 400],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      // Playwright's fixtures destructure nothing: `async ({}, use) => …`.
      "no-empty-pattern": "off",
    },
  },
  {
    files: ["node/**/*.ts"],
    // node:test awaits what it returns itself.
    rules: { "@typescript-eslint/no-floating-promises": "off" },
  },
);
