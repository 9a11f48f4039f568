// Airflow's UI keeps its theme under this name: light, dark or system. Set before anything is painted.
function follow() {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") {
    document.documentElement.dataset.theme = theme;
  } else {
    delete document.documentElement.dataset.theme;
  }
}

follow();
addEventListener("storage", follow);
