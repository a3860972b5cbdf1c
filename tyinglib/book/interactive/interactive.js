/* Figures that answer: a slider over frames, a point in the plane, a body to turn. No library, no network.

   A figure arrives as a still picture and its data (JSON). This script adds the controls; without it the picture stays.
   The controls are native ones. What the figure shows is also said in words, which change with it. */
(() => {
  "use strict";
  const KEYS = "data-lm-suppress-shortcuts"; /* tells JupyterLab that an element needs its arrow keys itself */
  const SVG = "http://www.w3.org/2000/svg";

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  const put = (parent, tag, attributes = {}, text = "") => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return parent.appendChild(element);
  };

  const clip = (low, x, high) => Math.max(low, Math.min(high, x));
  const written = (x) => String(x).replace("-", "\u2212");
  const points = (list) => list.map((point) => point.map((x) => x.toFixed(1)).join()).join(" ");

  /* A labelled slider over `values` (texts); change(index) is called when it moves. Returns [element, set(index)]. */
  const slider = ({ label, values }, start, change) => {
    const text = make("b");
    const input = make("input", { type: "range", min: 0, max: values.length - 1, step: 1, [KEYS]: "" });
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

  /* A choice as radio buttons. The form around them keeps their name apart from those of other figures. */
  const radios = ({ label, values }, start, change) => {
    const choices = values.map((text, index) => {
      const button = make("input", { type: "radio", name: label, [KEYS]: "" });
      button.checked = index === start;
      button.addEventListener("change", () => change(index));
      return make("label", {}, button, ` ${text}`);
    });
    return [make("fieldset", {}, make("legend", {}, `${label}:`), ...choices)];
  };

  /* Radio buttons if there is a choice, two sliders, and the words. Returns tell(words, place, place). */
  const panel = (figure, form, choice, pair, choose, slide) => {
    const sliders = pair.map((described, which) => slider(described, 0, (index) => slide(which, index)));
    if (choice.values.length > 1) form.append(radios(choice, 0, choose)[0]);
    form.append(...sliders.map(([element]) => element));
    const words = figure.appendChild(make("output"));
    return (text, ...places) => {
      words.textContent = text;
      sliders.forEach(([, set], which) => set(places[which]));
    };
  };

  /* A square drawing in place of the still. It answers to dragging, drag(x, y, dx, dy), and arrow keys, step(dx, dy).
     A finger may want to scroll the page instead. Where there is a handle it drags by that alone, and elsewhere taps;
     where there is none it drags by moving sideways. */
  const canvas = (still, label, side, drag, step) => {
    const svg = put(still.parentNode, "svg", { viewBox: `0 0 ${side} ${side}`, width: still.width, tabindex: 0 });
    svg.setAttribute(KEYS, "");
    svg.setAttribute("role", "application");
    svg.setAttribute("aria-label", label);
    still.replaceWith(svg);
    const place = (event) => {
      const box = svg.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top].map((x) => (x * side) / box.width);
    };
    const onHandle = (event) => event.target.closest(".handle");
    let held = null; /* what is pressed: its id, where it was, and whether it is a finger that may want to scroll */
    svg.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary) return; /* a second finger */
      held = { id: event.pointerId, last: place(event), finger: event.pointerType !== "mouse" && !onHandle(event) };
      svg.setPointerCapture(event.pointerId);
      if (!held.finger) drag(...held.last, 0, 0);
    });
    svg.addEventListener("pointermove", (event) => {
      if (held?.id !== event.pointerId) return;
      const now = place(event);
      const [dx, dy] = now.map((x, axis) => x - held.last[axis]);
      if (held.finger && (svg.querySelector(".handle") || Math.abs(dy) > Math.abs(dx))) return;
      held = { id: held.id, last: now };
      drag(...now, dx, dy);
    });
    svg.addEventListener("pointerup", (event) => {
      if (held?.id !== event.pointerId) return;
      const now = place(event);
      if (held.finger && Math.hypot(now[0] - held.last[0], now[1] - held.last[1]) < 15) drag(...now, 0, 0);
      held = null;
    });
    svg.addEventListener("pointercancel", () => (held = null)); /* the page scrolls */
    /* Not touch-action: browsers heed it on the whole drawing only, and then no finger could scroll past. */
    svg.addEventListener("touchstart", (event) => onHandle(event) && event.preventDefault(), { passive: false });
    svg.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!way || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      step(...way);
    });
    return svg;
  };

  const kinds = {
    /* One picture on show, of a grid of them, which are stored row by row. */
    frames(figure, form, still, { controls, start, frames }) {
      const words = figure.appendChild(make("output", { class: "unseen" }));
      const state = [...start];
      const pictures = frames.map(({ alt, src }) => {
        const picture = still.cloneNode();
        return Object.assign(picture, { alt }, src && { src });
      });
      still.replaceWith(...pictures);
      const show = () => {
        const at = state.reduce((sum, index, place) => sum * controls[place].values.length + index, 0);
        pictures.forEach((picture, index) => (picture.hidden = index !== at));
        return frames[at].alt;
      };
      controls.forEach((described, place) => {
        const change = (index) => {
          state[place] = index;
          words.textContent = show();
        };
        form.append((described.slider ? slider : radios)(described, start[place], change)[0]);
      });
      show();
    },

    /* A point and its image, looked up in what was computed for every point of a grid. */
    plane(figure, form, still, { names, places, limit, start, colours, numbers }) {
      const [side, left, top, span, last] = [440, 44, 8, 384, places.length - 1];
      const px = (x, y) => [left + ((1 + x / limit) / 2) * span, top + ((1 - y / limit) / 2) * span];
      const value = (index) => ((2 * index) / last - 1) * limit;
      let [choice, column, row] = [0, ...start];
      const go = (x, y) => {
        [column, row] = [x, y].map((place) => clip(0, Math.round(place), last));
        show();
      };
      const drag = (x, y) => go(((x - left) / span) * last, (1 - (y - top) / span) * last);
      const label = "Two weights: drag the round point, or move it with the arrow keys";
      const svg = canvas(still, label, side, drag, (dx, dy) => go(column + dx, row + dy));
      const line = (a, b, stroke, width) => {
        const [[x1, y1], [x2, y2]] = [px(...a), px(...b)];
        return put(svg, "line", { x1, y1, x2, y2, stroke, "stroke-width": width });
      };
      const across = (x, stroke, width) => line([x, -limit], [x, limit], stroke, width);
      const along = (y, stroke, width) => line([-limit, y], [limit, y], stroke, width);
      const write = (text, place) => put(svg, "text", { "text-anchor": "middle", fill: colours.ink, ...place }, text);
      for (let tick = -Math.floor(limit); tick <= limit; tick++) {
        across(tick, "#0002", 1);
        along(tick, "#0002", 1);
        write(written(tick), { x: px(tick, 0)[0], y: side - 26 });
        write(written(tick), { x: left - 8, y: px(0, tick)[1] + 5, "text-anchor": "end" });
      }
      write("first weight", { x: left + span / 2, y: side - 6 });
      write("second weight", { x: -top - span / 2, y: 14, transform: "rotate(-90)" });
      const ball = put(svg, "polygon", { fill: colours.muted, "fill-opacity": 0.15, stroke: colours.muted });
      across(0, colours.ink, 1);
      along(0, colours.ink, 1);
      const zeros = [across(0, colours.green, 4), along(0, colours.green, 4)];
      const arrow = put(svg, "path", { fill: "none", stroke: colours.muted, "stroke-width": 2 });
      const disc = (parent, place) => put(parent, "circle", { r: 9, fill: colours.blue, stroke: "#fff", ...place });
      const square = (place) =>
        put(svg, "path", { d: "M-8-8 H8 V8 H-8Z", fill: colours.vermilion, stroke: "#fff", ...place });
      disc(svg, { cx: left + 20, cy: top + span - 44 });
      square({ transform: `translate(${[left + 20, top + span - 20]})` });
      write("point", { x: left + 36, y: top + span - 39, "text-anchor": "start" });
      write("its image", { x: left + 36, y: top + span - 15, "text-anchor": "start" });
      const image = square({});
      const point = put(svg, "g", { class: "handle" });
      put(point, "circle", { r: 30, fill: "transparent" }); /* as wide as a thumb, on a phone too */
      disc(point, {});
      const pair = ["first weight", "second weight"].map((label) => ({ label, values: places }));
      const choose = (index) => show((choice = index));
      const slide = (which, index) => (which ? go(column, index) : go(index, row));
      const tell = panel(figure, form, { label: "penalty", values: names }, pair, choose, slide);
      const show = () => {
        const cell = row * places.length + column;
        const [u, v] = numbers.images[choice][cell].map((x) => x / 1000);
        const [from, to] = [px(value(column), value(row)), px(u, v)];
        const far = Math.hypot(to[0] - from[0], to[1] - from[1]);
        const angle = (Math.atan2(to[1] - from[1], to[0] - from[0]) * 180) / Math.PI;
        ball.setAttribute("points", points(numbers.outlines[choice].map((at) => px(...at))));
        point.setAttribute("transform", `translate(${from})`);
        image.setAttribute("transform", `translate(${to})`);
        arrow.setAttribute("transform", `translate(${to}) rotate(${angle})`);
        arrow.setAttribute("d", far > 20 ? `M${-far} 0 H-10 M-18 -5 L-10 0 L-18 5` : "");
        [u, v].forEach((x, axis) => (zeros[axis].style.display = x ? "none" : ""));
        const ends = ["", "The first weight is", "The second weight is", "Both weights are"];
        const end = ends[+!u + 2 * +!v] && ` ${ends[+!u + 2 * +!v]} exactly zero.`;
        const tied = numbers.ties[choice][cell] === "1" ? " The two have become equal in size." : "";
        const ends_at = `(${places[column]}, ${places[row]}) to (${written(u)}, ${written(v)})`;
        tell(`${names[choice]} moves ${ends_at}.${end || tied}`, column, row);
      };
      show();
    },

    /* A convex body: the faces that look at the reader hide the others. */
    solid(figure, form, still, { names, words, turn, tilt, colours, numbers }) {
      const [side, degree] = [440, Math.PI / 180];
      const every5 = (from, to) => Array.from({ length: (to - from) / 5 + 1 }, (_, i) => from + 5 * i);
      const angles = [every5(-180, 180), every5(-90, 90)];
      const text = (angle) => `${written(Math.round(angle))}\u00b0`;
      let choice = 0;
      const go = (a, b) => {
        turn = a > 180 ? a - 360 : a < -180 ? a + 360 : a;
        tilt = clip(-90, b, 90);
        show();
      };
      const drag = (x, y, dx, dy) => go(turn + dx / 2, tilt + dy / 2);
      const label = "A body: drag it, or turn it with the arrow keys";
      const svg = canvas(still, label, side, drag, (dx, dy) => go(turn + 5 * dx, tilt - 5 * dy));
      svg.classList.add("turns");
      const marks = ["M0-8 L8 6 H-8Z", "M-6-6 H6 V6 H-6Z", "M-7 0 A7 7 0 1 1 7 0 A7 7 0 1 1-7 0Z"];
      const tints = [colours.green, colours.vermilion, colours.ink];
      const mark = (zeros, at) =>
        put(svg, "path", { d: marks[zeros], fill: tints[zeros], stroke: "#fff", transform: `translate(${at})` });
      const pair = ["turn", "tilt"].map((label, which) => ({ label, values: angles[which].map(text) }));
      const choose = (index) => show((choice = index));
      const slide = (which, index) => (which ? go(turn, angles[1][index]) : go(angles[0][index], tilt));
      const tell = panel(figure, form, { label: "body", values: names }, pair, choose, slide);
      const show = () => {
        const [vertices, faces, normals, zeros, pierced] = numbers[choice];
        const [ca, sa, cb, sb] = [turn - 135, tilt].flatMap((x) => [Math.cos(x * degree), Math.sin(x * degree)]);
        const see = ([x, y, z]) => {
          const back = x * sa + y * ca;
          return [x * ca - y * sa, back * sb + z * cb, z * sb - back * cb];
        };
        const reach = 1.25 * Math.max(...vertices.flat().map(Math.abs));
        const px = ([x, y]) => [side / 2 + (x * side) / 2.4 / reach, side / 2 - 12 - (y * side) / 2.4 / reach];
        const units = ["100", "010", "001"].map((unit) => see([...unit].map(Number)));
        const axes = (front) =>
          units.forEach((unit, axis) => {
            if (unit[2] > 0 !== front) return;
            const [[x1, y1], [x2, y2], [x, y]] = [pierced[axis], reach, 1.12 * reach].map((far) => px(unit.map((c) => c * far)));
            put(svg, "line", { x1, y1, x2, y2, stroke: colours.muted, "stroke-width": 1.5 });
            put(svg, "text", { x, y: y + 5, "text-anchor": "middle", fill: colours.ink }, `w${"₁₂₃"[axis]}`);
          });
        svg.replaceChildren();
        axes(false);
        const seen = new Set();
        faces.forEach((face, index) => {
          const [right, up, near] = see(normals[index]);
          if (near < 1e-6) return;
          const shade = 75 - 50 * Math.max(0, 0.6 * up + 0.74 * near - 0.3 * right);
          const fill = `color-mix(in srgb, ${colours.blue} ${shade}%, #fff)`;
          put(svg, "polygon", { points: points(face.map((i) => px(see(vertices[i])))), fill, stroke: colours.blue });
          face.forEach((i) => seen.add(i));
        });
        for (const i of seen) if (zeros[i] < 3) mark(zeros[i], px(see(vertices[i])));
        axes(true);
        ["no zero", "one zero", "two zeros"].forEach((meaning, count) => {
          if (!zeros.includes(count)) return;
          mark(count, [40 + 140 * count, side - 12]);
          put(svg, "text", { x: 54 + 140 * count, y: side - 7, fill: colours.ink }, meaning);
        });
        const nearest = [turn + 180, tilt + 90].map((x) => Math.round(x / 5));
        tell(`${words[choice]} Turned by ${text(turn)}, tilted by ${text(tilt)}.`, ...nearest);
      };
      show();
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
