// A picture that cannot be loaded gives way to a sentence.
const sayWhy = (image) => {
  const sentence = document.createElement("p");
  sentence.className = "blank";
  sentence.textContent = "This picture cannot be loaded: it may be gone, or out of reach from here.";
  image.replaceWith(sentence);
};
for (const image of document.querySelectorAll("img")) {
  if (image.complete && image.naturalWidth === 0) {
    sayWhy(image);
  }
  image.addEventListener("error", () => sayWhy(image));
}

// As long as there may be more to come the page is loaded again, unless a user is on their way through it with the
// keyboard; the less often, the longer a busy server took to answer.
if (document.querySelector("[data-auto-refresh]")) {
  const { requestStart, responseEnd } = performance.getEntriesByType("navigation")[0];
  setInterval(() => {
    if (document.activeElement === document.body && document.visibilityState === "visible") {
      location.reload();
    }
  }, Math.max(5000, 10 * (responseEnd - requestStart)));
}
