// Airflow shows a page in a frame whose sandbox lets no link leave it. A link that has to is therefore followed
// by a link in Airflow's own page. Outside of a frame, and without this script, target="_top" does by itself.
"use strict";
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest('a[target="_top"]') : null;
  if (!link || window.top === window || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const outside = window.top.document.createElement("a");
  outside.href = link.href;
  window.top.document.body.append(outside);
  outside.click();
  outside.remove();
});
