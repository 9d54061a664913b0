// Stroke the context's path in a colour, with a white edge that shows it on any ground.
export function strokeEdged(context, colour, width, edge) {
  for (const [style, lineWidth] of [["#ffffff", width + edge], [colour, width]]) {
    context.strokeStyle = style;
    context.lineWidth = lineWidth;
    context.stroke();
  }
}

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
