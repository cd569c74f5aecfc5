"""``vasg sweep``: what it runs, what runs share, its bands, and a real one that is killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from test_stages import publish

from vasg.config import from_dict, load
from vasg.errors import ConfigurationError, UsageError
from vasg.runner import HOME, environment
from vasg.stages import is_up_to_date, stage, stages
from vasg.sweep.picture import draw
from vasg.sweep.plan import Plan, make_plan
from vasg.sweep.results import COLUMNS, MEASURES, band, summarise, table
from vasg.sweep.share import adopt
from vasg.tables import Warehouse
