// This page stands for another one, which Airflow may take its time to answer with; until then this one is seen. So it
// has to be there before it goes on. Its URL is that of the other one but for a segment.
setTimeout(() => {
  location.replace(location.pathname.replace("/kandinsky-gallery/open/", "/kandinsky-gallery/") + location.search);
});
