import { defineConfig, type Plugin } from "vite";
import { VitePWA } from "vite-plugin-pwa";

/**
 * The published page may run its own scripts and wasm, and talk to relays (which may be on other hosts);
 * nothing else. Not in development: Vite's hot reload needs inline styles.
 */
const contentSecurityPolicy: Plugin = {
  name: "content-security-policy",
  apply: "build",
  transformIndexHtml: () => [
    {
      tag: "meta",
      injectTo: "head-prepend",
      attrs: {
        "http-equiv": "Content-Security-Policy",
        content: [
          "default-src 'self'",
          "script-src 'self' 'wasm-unsafe-eval'",
          "connect-src 'self' http: https: ws: wss:",
          "img-src 'self' data:",
          "object-src 'none'",
          "base-uri 'none'",
          "form-action 'none'",
        ].join("; "),
      },
    },
  ],
};

/** Paths of the relay that serves this app: never answered from the cache. */
const relayPaths = [/^\/health$/, /^\/metrics$/, /^\/\.well-known\//, /^\/v1\//, /^\/relay$/, /^\/ping$/];

export default defineConfig({
  // The package lives next door in this repository.
  server: { fs: { allow: [".."] } },
  // Larger than any other: the judge of passphrases, which is loaded where one is chosen.
  build: { target: "es2022", chunkSizeWarningLimit: 1000 },
  plugins: [
    contentSecurityPolicy,
    VitePWA({
      registerType: "prompt",
      injectRegister: null,
      includeAssets: ["icon.svg", "apple-touch-icon.png"],
      manifest: {
        id: "/",
        name: "0k list",
        short_name: "0k list",
        description: "A shared checklist that only your devices can read.",
        start_url: "/",
        display: "standalone",
        background_color: "#f5f4ef",
        theme_color: "#f5f4ef",
        icons: [
          { src: "icon.svg", sizes: "any", type: "image/svg+xml" },
          { src: "icon-192.png", sizes: "192x192", type: "image/png" },
          { src: "icon-512.png", sizes: "512x512", type: "image/png" },
          { src: "icon-maskable-512.png", sizes: "512x512", type: "image/png", purpose: "maskable" },
        ],
      },
      workbox: {
        globPatterns: ["**/*.{js,css,html,svg,png,wasm}"],
        // The judge of passphrases is large, and needed only where there is a network anyway.
        globIgnores: ["**/judge-*.js", "**/zxing_reader-*.wasm"],
        // The sync core is larger than workbox's default of 2 MiB when it is not optimised.
        maximumFileSizeToCacheInBytes: 16 * 1024 * 1024,
        navigateFallback: "index.html",
        navigateFallbackDenylist: relayPaths,
        cleanupOutdatedCaches: true,
      },
    }),
  ],
});
