// What a map's cards say of a lesion, a line each: `lesions` are columns with a value a point.
export function lesionLines(lesions, point, ratingWords) {
  const lines = [];
  const slices = lesions.slices ? ` of ${lesions.slices[point]}` : "";
  lines.push(`nodule ${lesions.nodule[point]}, slice ${lesions.slice[point]}${slices ? " (largest)" : ""}`);
  const rating = lesions.malignancy?.[point] ?? null;
  const readers = lesions.readers?.[point];
  const who = readers ? `${readers} reader${readers === 1 ? "" : "s"}` : "Readers";
  lines.push(rating === null ? "Malignancy not rated" : `${who}: ${ratingWords[rating] || "rated"} (${rating})`);
  const diameter = lesions.diameter?.[point];
  if (diameter) lines.push(`Diameter ${diameter} mm`);
  const score = lesions.score?.[point] ?? null;
  if (score !== null) lines.push(`Model score ${score.toFixed(2)}${slices ? `, mean${slices}` : ""}`);
  return lines;
}

export const patientOf = (lesions, point) => lesions.patients[lesions.patient[point]];
