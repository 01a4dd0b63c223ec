// Answers the page by asking the server of `mamkpd serve`; demo/web/backend.js computes the answers in the browser.

const UNREACHABLE = "The server can't be reached. Start it again, then retry.";

/**
 * What the page has to know of the models, and what it offers.
 *
 * @throws {Error} the server can't be reached.
 */
export async function about() {
  const { max_bytes, ...model } = await (await ask("model")).json();
  return { models: [model], max_bytes, engines: [], live: false };
}

/** Nothing has to be prepared: the server has done it. */
export const prepare = async () => ({});

/**
 * The poses of a picture.
 *
 * @param {File} picture
 * @param boxes x, y, width, height of each; null: those that the server proposes.
 * @param options a signal to abort by.
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
