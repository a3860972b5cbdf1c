/* Figures that answer: a slider over frames, a point in the plane, a body to turn. No library, no network.

   A figure arrives as a still picture and its data (JSON). This script adds the controls; without it the picture stays.
   Every control is a native one. What the figure shows is also said in words, which change with it. */
(() => {
  "use strict";

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  /* A labelled slider over `values` (texts); change(index) is called when it moves. Returns [element, set(index)]. */
  const slider = ({ label, values }, start, change) => {
    const text = make("b");
    const input = make("input", { type: "range", min: 0, max: values.length - 1, step: 1 });
    const set = (index) => {
      input.value = index;
      text.textContent = values[index];
      input.setAttribute("aria-valuetext", values[index]);
    };
    input.addEventListener("input", () => {
      set(+input.value);
      change(+input.value);
    });
    set(start);
    return [make("label", {}, make("span", {}, `${label}: `, text), input), set];
  };

  /* The same choice as radio buttons. The form around them keeps their name apart from other figures' names. */
  const radios = ({ label, values }, start, change) => {
    const buttons = values.map((_, index) => {
      const button = make("input", { type: "radio", name: label });
      button.checked = index === start;
      button.addEventListener("change", () => change(index));
      return button;
    });
    const choices = values.map((text, index) => make("label", {}, buttons[index], ` ${text}`));
    const set = (index) => (buttons[index].checked = true);
    return [make("fieldset", {}, make("legend", {}, `${label}:`), ...choices), set];
  };

  const control = (described, ...rest) => (described.slider ? slider : radios)(described, ...rest);

  const kinds = {
    /* One picture on show, of a grid of them: data = {controls, start, frames: [{alt, src}]}, row by row. */
    frames(figure, form, still, { controls, start, frames }) {
      const words = make("output", { class: "unseen" });
      const state = [...start];
      const current = () => state.reduce((sum, index, place) => sum * controls[place].values.length + index, 0);
      const pictures = frames.map(({ alt, src }) => {
        const picture = still.cloneNode();
        picture.alt = alt;
        if (src) picture.src = src;
        return picture;
      });
      still.replaceWith(...pictures);
      const show = () => {
        pictures.forEach((picture, index) => (picture.hidden = index !== current()));
        words.textContent = frames[current()].alt;
      };
      controls.forEach((described, place) => {
        const [element] = control(described, start[place], (index) => {
          state[place] = index;
          show();
        });
        form.append(element);
      });
      show();
      figure.append(words);
      words.textContent = ""; /* said when it changes; until then the picture's own text is enough */
    },
  };

  for (const figure of document.querySelectorAll(".tyinglib-interactive:not([data-ready])")) {
    const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
    const form = make("form");
    form.addEventListener("submit", (event) => event.preventDefault());
    figure.prepend(form);
    kinds[figure.dataset.kind](figure, form, figure.querySelector("img"), data);
    figure.dataset.ready = "";
  }
})();
