// Numbers for people, with a real minus sign; lungvae_core.number_text does the same in Python.

const withMinus = (text) => text.replace(/^-(?=.*[1-9])/, "−").replace("-", "");

// Small numbers with more digits, at most four: shares of a Dirichlet are often below 0.01.
const digitsOf = (size) => (size >= 0.0995 || size === 0 ? 2 : size >= 0.00995 ? 3 : 4);

export const formatNumber = (value, digits = digitsOf(Math.abs(value))) => withMinus(value.toFixed(digits));

// With its sign, which is ± where nothing of the change is left in two digits.
export const formatChange = (change) =>
  (change < -0.005 ? "−" : change > 0.005 ? "+" : "±") + Math.abs(change).toFixed(2);

export const formatCount = (count) => count.toLocaleString("en");
