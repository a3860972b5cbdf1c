/* On paper nothing can be opened: answers and solutions stand at the end of their chapter, not under the question. */
(() => {
  "use strict";
  const make = (tag, ...children) => {
    const element = document.createElement(tag);
    element.append(...children);
    return element;
  };
  const link = (id, words) => Object.assign(make("a", words), { href: `#${id}` });
  const copies = (nodes) => nodes.map((node) => node.cloneNode(true));
  const undo = [];

  /* A thing leaves its place, where something may stand for it, until all is undone. */
  const take = (thing, substitute) => {
    const wasOpen = thing.open;
    thing.replaceWith(substitute);
    thing.open = true;
    undo.push(() => {
      thing.open = wasOpen;
      substitute.replaceWith(thing);
    });
    return thing;
  };

  const atTheEnd = (chapter, title, things) => {
    if (!things.length) return;
    const end = make("section", make("h2", title), ...things);
    chapter.append(end);
    undo.unshift(() => end.remove()); /* last: what it holds has gone back by then */
  };

  const answered = (question) => {
    const asked = [...question.childNodes].filter((node) => node.nodeName !== "DETAILS");
    const block = make("div", ...copies(asked));
    block.className = "predict";
    block.id = `${question.id}-answer`;
    for (const answer of [...question.querySelectorAll("details")]) {
      const option = make("p", "\u2022 ", ...copies([...answer.querySelector("summary").childNodes]));
      block.append(take(answer, option));
    }
    const pointer = make("p", link(block.id, "The answer stands at the end of the chapter."));
    question.append(pointer);
    undo.push(() => pointer.remove());
    return block;
  };

  const solved = (solution) =>
    take(solution, make("p", link(solution.id, "The solution stands at the end of the chapter.")));

  const arrange = () => {
    for (const chapter of document.querySelectorAll(":is(.bd-article, .sheet) > section")) {
      atTheEnd(chapter, "Answers", [...chapter.querySelectorAll(".predict")].map(answered));
      atTheEnd(chapter, "Solutions", [...chapter.querySelectorAll("details.solution")].map(solved));
    }
  };

  if (document.querySelector(".sheet")) arrange(); /* the whole book, which is for paper only */
  else {
    addEventListener("beforeprint", arrange);
    addEventListener("afterprint", () => {
      while (undo.length) undo.pop()();
    });
  }
})();
