// The files beside the page.

/** What to do if a file is missing. */
export const REMEDY = "Copy the whole folder that was exported, then reload the page.";

export const address = (file) => new URL(file, import.meta.url).href;

/**
 * The response with a file.
 *
 * @param options those of fetch.
 * @throws {Error} the file can't be loaded.
 */
export async function load(file, options) {
  const response = await fetch(address(file), options).catch(() => null);
  if (response?.ok) return response;
  throw new Error(`${file} can't be loaded (${response ? `HTTP ${response.status}` : "no connection"}). ${REMEDY}`);
}
