// Bundles the page into the Python package; with --tests, the unit tests into build/.
import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const there = `${here}../src/regard/explorer/static`;

async function page() {
  await mkdir(there, { recursive: true });
  const { metafile } = await build({
    absWorkingDir: here,
    entryPoints: { page: "src/main.tsx" },
    outdir: there,
    bundle: true,
    minify: true,
    charset: "utf8",
    format: "iife",
    target: "es2022",
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    metafile: true,
    logLevel: "warning",
  });
  await build({
    absWorkingDir: here,
    entryPoints: { page: "src/page.css" },
    outdir: there,
    bundle: true,
    minify: true,
  });
  await copyFile(`${here}src/index.html`, `${there}/index.html`);
  // The licences travel with the code, into a saved page too.
  const notice = await licences(metafile);
  const script = await readFile(`${there}/page.js`, "utf8");
  await writeFile(`${there}/page.js`, `/*!\n${notice.replaceAll("*/", "* /")}*/\n${script}`);
  await writeFile(`${there}/licences.txt`, notice);
}

// Only what is in the bundle is listed, each with its own licence text.
async function licences(metafile) {
  const names = new Set();
  for (const path of Object.keys(metafile.inputs)) {
    const found = path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/);
    if (found) names.add(found[1]);
  }
  const parts = await Promise.all([...names].sort().map(licence));
  return `The page is part of regard (MIT). It contains the following packages.\n\n${parts.join("\n\n")}\n`;
}

async function licence(name) {
  const folder = `${here}node_modules/${name}`;
  const { version, license } = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
  const file = (await readdir(folder)).find((each) => /^licen[sc]e/i.test(each));
  if (!file) throw new Error(`${name} brings no licence text: look for it, and add it`);
  const text = await readFile(`${folder}/${file}`, "utf8");
  return `${name} ${version} (${license})\n${"-".repeat(60)}\n${text.trim()}`;
}

async function tests() {
  const files = (await readdir(`${here}tests`)).filter((name) => name.endsWith(".test.ts"));
  await build({
    absWorkingDir: here,
    entryPoints: files.map((name) => `tests/${name}`),
    outdir: "build/tests",
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "warning",
  });
}

await (process.argv.includes("--tests") ? tests() : page());
