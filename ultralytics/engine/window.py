"""Windows that `show=True` opens."""

from __future__ import annotations

import os
import time
from typing import Any, Protocol

import cv2
import numpy as np
from PIL import Image

from ultralytics.utils.environment import LINUX, is_jupyter
from ultralytics.utils.log import LOGGER
from ultralytics.utils.types import UInt8Array

IMAGE_PAUSE = 0.5  # seconds that a single image stays, before the next; frames of a video follow each other at once


class Window(Protocol):
    """Shows images, those of one name in one place."""

    def show(self, name: str, image: UInt8Array, pause: float) -> None:
        """Show an image (BGR), and wait for seconds."""

    def close(self) -> None:
        """Close what is open."""


def has_display() -> bool:
    """Return True if windows can be opened here."""
    return not LINUX or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_window() -> Window | None:
    """Return what shows images here: OpenCV's windows, else Tk's; in a notebook its output. Where there is nothing, a
    line says so, and None is returned."""
    if is_jupyter():
        return _Notebook()
    if not has_display():
        LOGGER.warning("show=True: there is no display; save=True writes the images")
        return None
    for kind in (_OpenCV, _Tk):
        try:
            return kind()
        except Exception:  # OpenCV without windows, Python without Tk, a display that refuses: each its own kind
            continue
    LOGGER.warning("show=True: no window can be opened (pip install opencv-python, or a Python with tkinter)")
    return None


class _OpenCV:
    def __init__(self) -> None:
        cv2.waitKey(1)  # an error, where OpenCV was built without windows

    def show(self, name: str, image: UInt8Array, pause: float) -> None:
        cv2.namedWindow(name, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        cv2.imshow(name, image)
        cv2.waitKey(max(int(pause * 1000), 1))

    def close(self) -> None:
        cv2.destroyAllWindows()


class _Tk:
    def __init__(self) -> None:
        import tkinter  # some Pythons lack it

        self.tk = tkinter
        self.root = tkinter.Tk()
        self.root.withdraw()
        self.labels: dict[str, Any] = {}

    def show(self, name: str, image: UInt8Array, pause: float) -> None:
        if name not in self.labels:
            frame = self.tk.Toplevel(self.root)
            frame.title(name)
            self.labels[name] = self.tk.Label(frame)
            self.labels[name].pack()
        height, width = image.shape[:2]
        data = b"P6 %d %d 255\n" % (width, height) + np.ascontiguousarray(image[..., ::-1]).tobytes()
        label = self.labels[name]
        until = time.monotonic() + pause
        if label.winfo_exists():  # the user has not closed it
            label.shown = self.tk.PhotoImage(data=data, master=self.root)  # which must outlast this call
            label.configure(image=label.shown)
        self.root.update()
        while time.monotonic() < until:
            time.sleep(0.02)
            self.root.update()

    def close(self) -> None:
        self.root.destroy()


class _Notebook:
    def show(self, name: str, image: UInt8Array, pause: float) -> None:
        if pause:  # frames of a video would fill the page
            show_in_notebook(image)

    def close(self) -> None:
        """Nothing is open."""


def show_in_notebook(image: UInt8Array) -> None:
    """Show an image (BGR) in the output of the cell."""
    from IPython.display import display  # there is one in a notebook

    display(Image.fromarray(np.ascontiguousarray(image[..., ::-1])))
