// Checks picture files, and reads their pixels as stored, without colour conversion.

const MAX_PIXELS = 100e6; // 400 MB of RGBA

/**
 * Checks the type and size of a picture file, before its pixels are read.
 *
 * @throws {Error} it is not a picture, or is too large.
 */
export async function checkPicture(file) {
  const unreadable = "is not a picture that this browser can read. Choose a JPEG, PNG or WebP picture.";
  const image = new Image();
  image.src = URL.createObjectURL(file);
  const { naturalWidth: width, naturalHeight: height } = await new Promise((resolve, reject) => {
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error(`The file of ${file.size} bytes ${unreadable}`));
  }).finally(() => URL.revokeObjectURL(image.src));
  if (width * height > MAX_PIXELS) {
    const [given, most] = [width * height, MAX_PIXELS].map((n) => Math.round(n / 1e6));
    throw new Error(`The picture has ${given} million pixels. Choose one of at most ${most} million.`);
  }
}

/**
 * The pixels of a picture file or bitmap, upright, as ImageData.
 *
 * Choice: transparent pixels are black, because a canvas does not keep their colours.
 */
export async function pixelsOf(picture) {
  const bitmap = picture instanceof ImageBitmap ? picture : await decode(picture);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

async function decode(file) {
  try {
    return await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    // Browsers show an SVG, but createImageBitmap refuses its file.
    const remedy = "Copy its file again if it is damaged, or choose a JPEG, PNG or WebP.";
    throw new Error(`The picture can't be decoded. ${remedy}`);
  }
}
