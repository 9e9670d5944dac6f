"""Open napari with the sample pair and the four panels, to look round."""

import napari

PANELS = ("Register pair", "Train model", "Enhance", "Quality")


def open_app() -> napari.Viewer:
    """Return a viewer with the phone capture and its field, the panels as tabs on the right."""
    viewer = napari.Viewer(title="napari-acuity")
    viewer.open_sample("napari-acuity", "phone-pair")
    for panel in PANELS:
        viewer.window.add_plugin_dock_widget("napari-acuity", panel, tabify=True)
    return viewer


if __name__ == "__main__":
    open_app()
    napari.run()
