"use strict";
const $ = (selector) => document.querySelector(selector);
const rows = [...document.querySelectorAll(".utterance")];
const buttons = [...document.querySelectorAll(".take button")];
// One for all takes: a phone lets it play on by itself once a touch has started it.
const player = $("#player");
const newest = (row) => row.querySelector(".take.new button");
const status = (text) => { $("#status").textContent = text; };
let loaded = null;
let at = -1;
let whole = false;
let timer = 0;

const shown = () => rows.filter((row) => !row.hidden);
const heard = () => shown().filter(newest);
const sign = (text) => { if (loaded) loaded.firstElementChild.textContent = text; };
const mark = (row) => {
  rows.forEach((each) => each.classList.toggle("on", each === row));
  at = rows.indexOf(row);
  row.scrollIntoView({ block: "nearest" });
};
const pace = () => {
  player.defaultPlaybackRate = player.playbackRate = Number($("#speed").value);
  player.preservesPitch = true;
};
const play = (button) => {
  clearTimeout(timer);
  sign("▶");
  loaded = button;
  player.src = `data:audio/mpeg;base64,${button.dataset.mp3}`;
  pace();
  mark(button.closest(".utterance"));
  player.play().catch(() => {});
};
const stop = () => {
  whole = false;
  clearTimeout(timer);
  player.pause();
  $("#whole").textContent = "Play all";
};
const follow = () => {
  const next = heard().find((row) => rows.indexOf(row) > at);
  if (next) play(newest(next)); else { stop(); status("The end."); }
};
const step = (by) => {
  const all = shown();
  const here = all.indexOf(rows[at]);
  const row = all[here < 0 ? 0 : Math.min(all.length - 1, Math.max(0, here + by))];
  if (!row) return;
  stop();
  mark(row);
  // Away from the button that was clicked last: the space key would press it.
  row.focus({ preventScroll: true });
  if (newest(row)) play(newest(row));
};

buttons.forEach((button) => {
  button.onclick = () => {
    const wasPlaying = button === loaded && !player.paused;
    stop();
    if (!wasPlaying) play(button);
  };
});
player.onplay = player.onpause = () => sign(player.paused ? "▶" : "■");
player.onended = () => {
  sign("▶");
  if (whole) timer = setTimeout(follow, 1000 * Number($("#pause").value));
};
player.onerror = () => {
  sign("▶");
  status("This clip can't be played.");
  if (whole) follow();
};
$("#whole").onclick = () => {
  if (whole) { stop(); return; }
  stop();
  whole = true;
  at = -1;
  $("#whole").textContent = "Stop";
  follow();
};
$("#speed").onchange = pace;

const filter = () => {
  const state = $("#state").value;
  const code = $("#code").value;
  rows.forEach((row) => {
    row.hidden = (state && row.dataset.state !== state) || (code && row.dataset.code !== code);
  });
  document.querySelectorAll("#cards > li").forEach((card) => {
    card.hidden = ![...card.querySelectorAll(".utterance")].some((row) => !row.hidden);
  });
  const count = shown().length;
  $("#none").hidden = count > 0;
  status(`${count} of ${rows.length} shown.`);
};
$("#state").onchange = filter;
$("#code").onchange = filter;

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const list = () => {
  const lines = rows.filter((row) => row.querySelector("[type=checkbox]")?.checked).map((row) => {
    const say = row.querySelector("[type=text]").value.trim();
    const line = `memolist-tts retake ${quoted(row.dataset.card)} ${row.dataset.language}`;
    return say ? `${line} --say ${quoted(say)}` : line;
  });
  $("#commands").textContent = lines.join("\n");
  $("#retakes").hidden = lines.length === 0;
};
document.querySelectorAll(".flag input").forEach((input) => { input.oninput = list; });
$("#copy").onclick = async () => {
  try {
    await navigator.clipboard.writeText($("#commands").textContent);
    status("Copied.");
  } catch {
    getSelection().selectAllChildren($("#commands"));
    status("Selected: copy it with your keyboard.");
  }
};

document.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=text], select")) return;
  if (event.key === " " && event.target.matches("button, input")) return;
  const row = rows[at];
  const act = {
    " ": () => (whole || !player.paused ? stop() : step(0)),
    j: () => step(1),
    k: () => step(-1),
    s: () => {
      const speed = $("#speed");
      speed.selectedIndex = (speed.selectedIndex + speed.length - 1) % speed.length;
      speed.onchange();
      status(`Speed: ${speed.selectedOptions[0].textContent}.`);
    },
    f: () => row?.querySelector("[type=checkbox]")?.click(),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
};
