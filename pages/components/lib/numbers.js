// Numbers for people, with a real minus sign; lungvae_core.number_text does the same in Python.

const withMinus = (text) => text.replace(/^-(?=.*[1-9])/, "−").replace("-", "");

export const formatNumber = (value, digits = Math.abs(value) < 0.0995 && value !== 0 ? 3 : 2) =>
  withMinus(value.toFixed(digits));

// With its sign, which is ± where nothing of the change is left in two digits.
export const formatChange = (change) =>
  (change < -0.005 ? "−" : change > 0.005 ? "+" : "±") + Math.abs(change).toFixed(2);

export const formatCount = (count) => count.toLocaleString("en");
