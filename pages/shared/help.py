"""How each page is used, by the page's title: what to click, drag and press."""

from __future__ import annotations

HELP = {
    "Lung lesion explorer": (
        "- **Choose a way in** below, or a page on the left. The tour takes two minutes.\n"
        "- The **model** picked on the left is the one that all pages look at.\n"
        "- The **address** of every page leads another person to what you see; copy it to share it.\n"
        "- **Light or dark:** the menu at the top right. **Larger text**, for a projector: on the left.\n"
        "- Everything works with the **keyboard**: Tab goes on, Enter and Space press, arrows move sliders."
    ),
    "Latent map": (
        "- **Point** at a lesion to see it; **click** it for its card.\n"
        "- **Drag** to draw around a group, hold Shift to add to it.\n"
        "- **Wheel** or + and − zoom, until points become images.\n"
        "- What you choose is in the address, so a link shows the same map, filter and lesion."
    ),
    "Traversal": (
        "- **Drag a slider**, or use the arrow keys: the picture follows. A double click on a slider's name "
        "takes it back.\n"
        "- **Start from** a lesion, a mean of lesions, the prior, or an image of yours (from Predict).\n"
        "- Below are other ways: from one lesion to another, two dimensions at once, all of them, and the "
        "smallest change that flips the score. Films and strips can be downloaded."
    ),
    "Predict": (
        "- **A lesion of the set:** choose patient, nodule and slice, or come from the map.\n"
        "- **An image of yours:** DICOM files or a zip of them, NIfTI, npy, png. Click into the lesion to "
        "place the box; arrow keys move it. The image stays in this machine's memory.\n"
        "- **Neighbours** are of other patients. Click one to see it."
    ),
    "Compare": (
        "- The left map is of the **model** picked in the sidebar; choose the one **beside it** above.\n"
        "- **Point** at a lesion in one map: a ring shows it in the other. **Click** it, or draw around a "
        "group, in either.\n"
        "- Below, the same lesion in both models: what each keeps of it, its score, its neighbours."
    ),
    "Evaluation": (
        "- Choose a **report** and what is counted: slices, nodules or patients.\n"
        "- Every figure stands beside the **baselines** on the same folds; bars are 95 % intervals.\n"
        "- **HTML to send** makes one file with everything; below, an evaluation of your own can be started."
    ),
    "Measured traversals": (
        "- **Click a square** in the overview, or choose a dimension, to see it walked and measured.\n"
        "- **Walk it** takes the dimension to the Traversal page, where you can move it yourself."
    ),
    "Factors": (
        "- Each square tells how much one dimension says of one factor; the **null** beside it is the same "
        "with patients shuffled.\n"
        "- Choose a factor or a dimension to see the figures in full."
    ),
    "Clusters": (
        "- Choose a **method** and a cluster: its lesions, what is typical, whose scans they are.\n"
        "- A cluster can be taken to the map."
    ),
    "Directions": (
        "- Choose a **direction** to see a lesion move along it, and how well it tells.\n"
        "- The smallest change that flips a lesion's score is below."
    ),
    "Train": (
        "- Choose **data** and a **preset**, change what you like, and start. It goes on when the tab is "
        "closed.\n"
        "- The finished model appears in the picker on the left. Stopping keeps a checkpoint."
    ),
    "Search": (
        "- Choose **data**, what may vary, and how many **trials**; start it, and watch the table fill.\n"
        "- Draw a box around points of an axis of the parallel coordinates to list the trials in that range."
    ),
}
