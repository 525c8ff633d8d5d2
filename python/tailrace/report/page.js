"use strict";
// Each heading of the table becomes a button that sorts by its column. Empty cells come last.
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => {
        const cell = row.cells[column];
        const text = cell.textContent;
        return [cell.dataset.value === undefined ? text : Number(cell.dataset.value), text === "", row];
      });
      rows.sort(([a, aEmpty], [b, bEmpty]) => aEmpty - bEmpty || sign * (a < b ? -1 : a > b ? 1 : 0));
      body.append(...rows.map(([, , row]) => row));
    });
  });
}
