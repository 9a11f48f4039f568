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

// As long as there may be more to come the page is loaded again, unless somebody is on their way through the page with the keyboard.
if (document.querySelector("[data-auto-refresh]")) {
  setInterval(() => {
    if (document.activeElement === document.body && document.visibilityState === "visible") {
      location.reload();
    }
  }, 5000);
}
