// Answers the page by asking the server of `mamkpd serve`; demo/web/backend.js computes the answers in the browser.

const UNREACHABLE = "The server can't be reached. Start it again, then retry.";

/**
 * The models, and what this backend supports.
 *
 * @throws {Error} the server can't be reached.
 */
export async function about() {
  const { max_bytes, ...model } = await (await ask("model")).json();
  return { models: [model], max_bytes, engines: [], live: false };
}

/** Prepares nothing: the server is ready. */
export const prepare = async () => ({});

/**
 * The poses of a picture.
 *
 * @param {File} picture
 * @param boxes x, y, width, height of each; null: those that the server detects.
 * @param options a signal that aborts the request.
 * @throws {Error} the picture or a box can't be used, or the server can't be reached.
 */
export async function poses(picture, boxes, { signal }) {
  const query = boxes ? `&boxes=${encodeURIComponent(JSON.stringify(boxes))}` : "";
  const headers = { "Content-Type": "application/octet-stream" };
  const response = await ask(`poses?heatmaps=true${query}`, { method: "POST", headers, body: picture, signal });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function ask(address, options) {
  try {
    return await fetch(address, options);
  } catch (error) {
    throw error instanceof TypeError ? new Error(UNREACHABLE) : error;
  }
}
