// The camera's frames, one at a time.

const FAULTS = {
  NotAllowedError: "The camera was refused. Allow it for this page in the browser's settings, or choose a picture.",
  NotFoundError: "There is no camera. Connect one, or choose a picture.",
  NotReadableError: "The camera is in use by another program. Close that, then retry.",
};
const INSECURE =
  "Browsers give the camera to pages from https:// or localhost only. Serve the page there, or choose a picture.";

/**
 * Shows the camera in a video until a signal aborts it.
 *
 * @param ended called when the camera stops by itself, such as when it is unplugged.
 * @throws {Error} there is no camera, or it can't be used.
 */
export async function openCamera(video, signal, ended) {
  if (!navigator.mediaDevices) throw new Error(INSECURE);
  const stream = await allowed();
  const [track] = stream.getVideoTracks();
  const close = () => {
    track.stop();
    if (video.srcObject === stream) video.srcObject = null;
  };
  if (signal.aborted) close();
  signal.throwIfAborted();
  signal.addEventListener("abort", close);
  track.addEventListener("ended", ended);
  video.srcObject = stream;
  await video.play();
}

async function allowed() {
  try {
    const wanted = { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: "environment" };
    return await navigator.mediaDevices.getUserMedia({ video: wanted });
  } catch (error) {
    throw new Error(FAULTS[error.name] ?? `The camera can't be used (${error.message}). Choose a picture.`);
  }
}

/** The next frame, as a bitmap. A hidden page gets none until it is visible again. */
export async function nextFrame(video) {
  await new Promise(requestAnimationFrame);
  return createImageBitmap(video);
}
