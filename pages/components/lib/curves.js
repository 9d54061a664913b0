// Draw values as a line from place to place, with gaps where a value is null.
export function strokeCurve(context, values, placeOf) {
  context.beginPath();
  let open = false;
  values.forEach((value, step) => {
    if (value === null) open = false;
    else if (open) context.lineTo(...placeOf(value, step));
    else {
      context.moveTo(...placeOf(value, step));
      open = true;
    }
  });
  context.stroke();
}
