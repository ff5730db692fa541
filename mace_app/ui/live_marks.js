// What is chosen in the charts of live_plotly.js, told by itself: a chart's own data, which are large, stay as they are.

export default function ({ data }) {
  const marks = (window.chartMarks ??= new Map());
  const names = Object.keys(data.marks);
  const tell = () => window.dispatchEvent(new CustomEvent("chart-marks", { detail: names }));
  for (const name of names) marks.set(name, data.marks[name]);
  tell();
  return () => {
    for (const name of names) marks.delete(name);
    tell();
  };
}
