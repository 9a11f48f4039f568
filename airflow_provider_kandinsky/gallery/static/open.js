// This page stands for another one, which Airflow may take its time to answer with; until then this one is seen.
// Its URL is that of the other one but for a segment.
location.replace(location.pathname.replace("/kandinsky-gallery/open/", "/kandinsky-gallery/") + location.search);
