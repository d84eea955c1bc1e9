"use strict";

// Filters of galleries: an item is shown if each chosen word is among those of its attribute.
for (const form of document.querySelectorAll("[data-filters]")) {
  const items = [...document.querySelectorAll(`[data-gallery="${form.dataset.filters}"] > *`)];
  const choices = [...form.querySelectorAll("select")];
  const show = () => {
    const wanted = choices.filter((choice) => choice.value);
    let shown = 0;
    for (const item of items) {
      const fits = wanted.every((choice) =>
        (item.dataset[choice.dataset.key] || "").split(" ").includes(choice.value));
      item.hidden = !fits;
      shown += fits;
    }
    form.querySelector("output").textContent = `${shown} of ${items.length} shown`;
  };
  form.addEventListener("change", show);
  // Browsers keep what was chosen when a page is loaded again.
  show();
}
