"""The lab's images: what they hold (`catalogue`), how they are made (`build`). The program does not know of them."""
